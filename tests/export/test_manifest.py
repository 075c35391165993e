"""The manifest against its JSON Schema, and the schema against the runtime's reader."""

import copy
import json
import sys

import jsonschema
import pytest
from support.factories import make_checkpoint

from fastbert.export import ExportOptions, build, export_bundle
from fastbert.export.manifest import SCHEMA_FILE, ManifestWriter
from fastbert.export.precisions import PRECISIONS
from fastbert.families import FAMILIES
from fastbert.runtime.documents import ListOf, MappingOf, OptionalField, Record, Unfit
from fastbert.runtime.errors import BundleError, MissingDependencyError, UsageError
from fastbert.runtime.manifest_rules import MANIFEST_FIELDS

SCHEMA = json.loads(SCHEMA_FILE.read_text())


WRITER = ManifestWriter("export")
POINT = {"speed": 0.3, "variant": "fp32", "variant_sha256": "a" * 64}
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def check(document):
    WRITER.check(SCHEMA_FILE, document)


def manifest_of(bundle):
    return json.loads((bundle / "manifest.json").read_text())


@pytest.fixture
def document(bundle):
    return manifest_of(bundle)


def changed(document, path, value):
    """Return a copy with one value replaced; ... removes it."""
    *places, last = path
    result = copy.deepcopy(document)
    inside = result
    for place in places:
        inside = inside[place]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return result


# Bundles


def test_manifests_of_all_precisions_follow_the_schema(every_variant):
    document = manifest_of(every_variant[0])
    check(document)
    assert list(document["variants"]) == list(PRECISIONS)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "bert"])
def test_manifests_of_all_families_follow_the_schema(family, tmp_path):
    checkpoint = make_checkpoint(family, layers=1)
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(verify_data=checkpoint.sample_rows[:4]))
    document = manifest_of(tmp_path / "b")
    check(document)
    assert (document["variants"]["fp32"]["row"], document["variants"]["fp32"]["chain"]) == (None, None)


def test_a_manifest_with_a_tensorrt_variant_follows_the_schema(built):
    document = manifest_of(built)
    check(document)
    assert "tensorrt-fp16-sm90" in document["variants"]
    for broken in (
        changed(document, ("variants", "tensorrt-fp16-sm90", "tensorrt"), ...),
        changed(document, ("variants", "tensorrt-fp16-sm90", "compaction"), None),
        changed(document, ("variants", "tensorrt-fp16-sm90", "tensorrt", "profiles", 0, "batch"), [1]),
        changed(document, ("variants", "tensorrt-fp16-sm90", "tensorrt", "sm"), 90),
        changed(document, ("variants", "fp32", "devices"), ["cpu", "tensorrt"]),
    ):
        with pytest.raises(BundleError, match=r"does not follow the schema of manifests: \$\.variants"):
            check(broken)


def test_a_manifest_with_a_variant_for_rtx_follows_the_schema(rtx_built):
    document = manifest_of(rtx_built)
    check(document)
    place = ("variants", "tensorrt-rtx-fp16")
    check(changed(document, ("verification", place[1]), {"passed": None, "reason": "no GPU is available"}))
    for broken in (
        changed(document, (*place, "tensorrt", "compute_capabilities"), ...),
        changed(document, (*place, "tensorrt", "compute_capabilities"), []),
        changed(document, (*place, "tensorrt", "compute_capabilities"), ["sm89"]),
        changed(document, (*place, "engine"), "tensorrt"),
        changed(document, (*place, "devices"), ["tensorrt"]),
    ):
        with pytest.raises(BundleError, match=r"does not follow the schema of manifests: \$\.variants"):
            check(broken)


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 64, "", "9", "a b", "x" * 65, "é", "a\n"])
def test_the_schema_and_the_reader_take_the_same_names_of_operating_points(document, name):
    document["operating_points"] = {name: POINT}
    try:
        MANIFEST_FIELDS.read(document)
        taken = True
    except Unfit:
        taken = False
    assert taken == VALIDATOR.is_valid(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("target",), {"value": 1}),
        (("target",), {"kind": "speedup", "value": "3"}),
        (("rows",), {"count": 0, "sha256": "a" * 64}),
        (("guarantee",), {"kind": "max_drop", "value": 0.5, "confidence": 1, "rows": 3}),
        (("measured",), []),
        (("created",), 2026),
    ],
)
def test_what_a_point_was_tuned_for_is_checked_before_it_is_written(document, path, value):
    point = {**POINT, "target": {"kind": "speedup", "value": 3}, "rows": {"count": 3, "sha256": "a" * 64}}
    point |= {"guarantee": None, "measured": {}, "created": "2026-01-31T12:00:00Z", "new": 1}
    document["operating_points"] = {"balanced": point}
    check(document)
    with pytest.raises(BundleError, match=r"\$\.operating_points\.balanced"):
        check(changed(document, ("operating_points", "balanced", *path), value))


def test_a_manifest_of_an_early_version_follows_the_schema(document):
    for name in ("task", "layer_norm", "default_token_type", "truncation_side", "distilled", "made_with"):
        del document[name]
    for name in ("exact", "saturates", "compaction", "chain", "row"):
        del document["variants"]["fp32"][name]
    check({**document, "schema": "fastbert-bundle/1.3", "new": 1})


@pytest.mark.parametrize("name", SCHEMA["required"])
def test_a_manifest_without_a_required_field_fails(document, name):
    with pytest.raises(BundleError, match=name):
        check(changed(document, (name,), ...))


def test_an_export_writes_no_manifest_that_fails(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("fastbert.export.bundle.model_flops", lambda config: {"layer": [1, 2], "exits": []})
    with pytest.raises(BundleError, match=r"manifest\.json does not follow the schema of manifests: \$\.flops\.layer"):
        export_bundle(checkpoint, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_build_adds_nothing_to_a_manifest_that_fails(tensorrt, bundle_copy):
    broken = changed(manifest_of(bundle_copy), ("made_with",), {"python": 3})
    (bundle_copy / "manifest.json").write_text(json.dumps(broken))
    with pytest.raises(BundleError, match=r"\$\.made_with\.python"):
        build(bundle_copy)
    assert manifest_of(bundle_copy) == broken


def test_without_jsonschema_the_extra_is_named(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(MissingDependencyError, match=r"fastbert-deploy\[export\]"):
        export_bundle(checkpoint, tmp_path / "b")


# Options


@pytest.mark.parametrize("speed", [-0.1, 1.1, float("nan"), "0.5", True])
def test_a_wrong_default_speed_is_refused(speed):
    with pytest.raises(UsageError, match="`default_speed` is .*; it must be a number from 0"):
        ExportOptions(default_speed=speed)


@pytest.mark.parametrize(
    ("precisions", "message"),
    [
        (("fp32", "int2"), "`precisions` names 'int2', which is unknown; known are fp32, int8"),
        (("fp32", "fp32"), "`precisions` names a precision twice: fp32, fp32"),
        ((), r"`precisions` is \(\); it must list at least one of fp32, int8"),
        ("fp32", "`precisions` is 'fp32'; it must list at least one of fp32, int8"),
    ],
)
def test_wrong_precisions_are_refused(precisions, message, checkpoint, tmp_path):
    with pytest.raises(UsageError, match=message):
        export_bundle(checkpoint, tmp_path / "b", ExportOptions(precisions=precisions))


# The schema and the reader


def resolve(schema):
    while "$ref" in schema:
        schema = {**schema, **SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]}
        del schema["$ref"]
    return schema


def fields_of_schema(schema, *path):
    """Yield (path, required) of every field that readers need."""
    schema = resolve(schema)
    for name, field in schema.get("properties", {}).items():
        if field.get("$comment") != "informative":
            yield (*path, name), name in schema.get("required", ())
            yield from fields_of_schema(field, *path, name)
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            yield from fields_of_schema(schema[inner], *path, inner)


def fields_of_reader(rule, *path):
    optional = isinstance(rule, OptionalField)
    rule = rule._rule if optional else rule
    if path and path[-1] not in ("items", "additionalProperties"):
        yield path, not optional
    if isinstance(rule, Record):
        for name, field in rule.fields.items():
            yield from fields_of_reader(field, *path, name)
    elif isinstance(rule, ListOf):
        yield from fields_of_reader(rule.items, *path, "items")
    elif isinstance(rule, MappingOf):
        yield from fields_of_reader(rule.values, *path, "additionalProperties")


def test_the_schema_and_the_reader_have_the_same_fields():
    schema = dict(fields_of_schema(SCHEMA))
    assert schema.pop(("schema",))  # the reader checks it before all others
    assert schema == dict(fields_of_reader(MANIFEST_FIELDS))


VALUES = [
    None, True, 0, 1, -1, 7, 2**31, 0.5, 1.5, "", "a", "left", "..", "../x", "/x", "a//b", "a/", "./a", "C:x", "a\\b",
    "a\0b", "a/b.onnx", ".", "x" * 64, "f" * 64, [], {}, [1], ["a"], ["a", "a"], [1, 2, 3], [1, 2, -1], [0, 1, 2.5],
    [[1, 2, 3]] * 3, {"a": 1}, {"": {}}, {"a/b": {}},
]  # fmt: skip


def paths(document, *path):
    if path:
        yield path
    if isinstance(document, dict):
        for name, value in document.items():
            yield from paths(value, *path, name)
    elif isinstance(document, list) and document:
        yield from paths(document[0], *path, 0)


def test_the_schema_and_the_reader_refuse_the_same_values(document):
    """Each value in the place of each field. Only the reader compares fields with each other."""
    skipped = ("schema", "task", "layer_norm", "family", "distilled", "data", "verification", "made_with")
    document["operating_points"] = {"balanced": POINT}
    document["files"] = dict([*document["files"].items()][:1])
    compared = 0
    for path in paths(document):
        if path[0] in skipped:
            continue
        for value in [..., *VALUES]:
            broken = changed(document, path, value)
            try:
                MANIFEST_FIELDS.read(broken)
                refused = None
            except Unfit as unfit:
                refused = str(unfit)
            assert (refused is None) == VALIDATOR.is_valid(broken), (path, value, refused)
            compared += 1
    assert compared > 1000
