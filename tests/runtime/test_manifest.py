import copy
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbert.runtime import manifest as manifest_module
from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.manifest import Manifest, check_files, read_manifest

HASH = "0123456789abcdef" * 4


def variant(name, layers):
    return {
        "precision": "float32",
        "exact": True,
        "devices": ["cpu"],
        "engine": "onnxruntime",
        "saturates": True,
        "embeddings": f"{name}/embeddings.onnx",
        "stages": [f"{name}/stage_{number:02d}.onnx" for number in range(layers)],
        "compaction": None,
        "chain": f"{name}/chain.onnx",
        "row": f"{name}/row.onnx",
    }


def make_document(*, layers=3, variants=("fp32",)):
    """A manifest as export writes it."""
    records = {name: variant(name, layers) for name in variants}
    files = [file for record in records.values() for file in (record["embeddings"], *record["stages"], record["chain"])]
    files += [record["row"] for record in records.values()] + ["tokenizer.json", "golden.npz"]
    return {
        "schema": "fastbert-bundle/1",
        "task": "text-classification",
        "labels": ["negative", "neutral", "positive"],
        "max_length": 48,
        "max_positions": 66,
        "vocab_size": 24,
        "type_vocab_size": 2,
        "layer_norm": "after",
        "default_token_type": 0,
        "pad_token_id": 0,
        "family": "bert",
        "layers": layers,
        "hidden_size": 32,
        "exits": list(range(layers)),
        "distilled": True,
        "uncertainty": "margin",
        "default_speed": 0.5,
        "flops": {"layer": [0, 24576, 128], "exits": [[1536, 2624, 0]] * layers},
        "variants": records,
        "files": {file: {"bytes": 1, "sha256": HASH} for file in files},
        "verification": {},
        "made_with": {"python": "3.11"},
    }


TENSORRT = {
    **variant("trt", 3),
    "engine": "tensorrt",
    "devices": ["tensorrt"],
    "compaction": "fp32/row.onnx",
    "tensorrt": {
        "source": "fp16",
        "version": "11.2",
        "sm": "sm90",
        "profiles": [{"batch": [1, 8], "sequence": 32}],
    },
}


def read(tmp_path, document):
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    (tmp_path / "manifest.json").write_bytes(content)
    return read_manifest(tmp_path)


def changed(path, value=...):
    """A manifest with one value replaced or removed; a path is keys and indices joined by spaces."""
    document = make_document()
    *places, last = (int(part) if part.isdecimal() else part for part in path.split(" "))
    inside = document
    for place in places:
        inside = inside[place]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "has the schema 1; this fastbert reads"),
        ({"exits": [0, 2]}, r"variants\.fp32\.stages is \[.*\]; expected one stage for each of the exits \[0, 2\]"),
        ({"labels": 3}, r"manifest\.json is damaged: labels is 3; expected a list of at least one label"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(bundle, tmp_path, change, message):
    document = json.loads((bundle / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(BundleError, match=message):
        read_manifest(tmp_path)


BAD_COUNTS = [0, -1, 1.0, "1", True, None, [1], 2**63, 10**400, float("nan")]
BAD_TEXTS = ["", None, 1, True, ["a"], {}]
BAD_PATHS = [
    *BAD_TEXTS, "/etc/passwd", "..", ".", "../x", "a/../x", "a/..", "./x", "a/./x", "a//x", "a/", "/", "C:x", "c:/x",
    "a\\b", "\\\\host\\x", "..\\x", "a\0b",
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("schema", [..., None, "", "fastbert-bundle", "fastbert-bundle/2", "fastbert-bundle/10", 1, True, [], {}]),
        ("labels", [..., None, [], "ab", {"0": "a"}, ["a", "a"], ["a", ""], ["a", None], ["a", 1], ["a", ["b"]]]),
        *((name, [..., *BAD_COUNTS]) for name in ("max_length", "max_positions", "vocab_size", "type_vocab_size")),
        *((name, [..., *BAD_COUNTS]) for name in ("layers", "hidden_size")),
        ("max_length", [67]),
        ("pad_token_id", [..., -1, 24, 0.0, "0", False, None]),
        ("default_token_type", [-1, 2, 0.0, "0", False, None]),
        ("truncation_side", ["", "Left", "both", None, 0, ["left"]]),
        ("uncertainty", BAD_TEXTS),
        ("default_speed", [..., -0.1, 1.1, "0.5", True, None, float("nan"), float("inf"), -float("inf"), 10**400]),
        ("exits", [..., None, [], 2, "012", [0, 1], [0, 1, 3], [0, 2, 1], [0, 0, 2], [0, 1, 2, 2], [-1, 1, 2]]),
        ("exits", [[0, 1.0, 2], [0, True, 2], ["0", 1, 2], [0, None, 2], {"0": 1}]),
        ("flops", [..., None, [], 1, {}]),
        ("flops layer", [..., None, 1, [], [1, 2], [1, 2, 3, 4], [1, 2, "3"], [1, 2, -1], [1, 2, float("nan")]]),
        ("flops exits", [..., None, [], [[1, 2, 3]] * 2, [[1, 2, 3]] * 4, {"0": [1, 2, 3]}]),
        ("flops exits 1", [None, [], [1, 2], [1, 2, True], [1, 2, float("inf")], [1, 2, 10**19]]),
        ("variants", [..., None, {}, [], "fp32", [variant("fp32", 3)]]),
        ("variants fp32", [None, [], 1, {}]),
        *((f"variants fp32 {name}", [..., *BAD_TEXTS]) for name in ("precision", "engine")),
        *((f"variants fp32 {name}", [0, 1, "true", None, []]) for name in ("exact", "saturates")),
        ("variants fp32 devices", [..., None, "cpu", {"cpu": 1}, [1], [None], [""]]),
        ("variants fp32 embeddings", [..., *BAD_PATHS, "fp32/stage_00.onnx"]),
        ("variants fp32 stages", [..., None, [], "a", {}, ["fp32/stage_00.onnx"] * 3, ["fp32/stage_00.onnx"] * 2]),
        ("variants fp32 stages 1", BAD_PATHS),
        *((f"variants fp32 {name}", BAD_PATHS[:1] + BAD_PATHS[2:]) for name in ("compaction", "chain", "row")),
        ("variants fp32 devices", [["cpu", "tensorrt"]]),
        ("variants fp32 engine", ["tensorrt"]),
        ("variants fp32 tensorrt", [None, [], {}, {"source": "fp32"}, {**TENSORRT["tensorrt"], "profiles": []}]),
        ("files", [..., None, [], {}, "x"]),
        ("files fp32/row.onnx", [..., None, [], 1, {}]),
        ("files fp32/row.onnx bytes", [..., -1, 1.0, "1", True, None]),
        ("files fp32/row.onnx sha256", [..., None, 1, "", HASH[1:], HASH + "0", "g" + HASH[1:], HASH[1:] + "\n"]),
    ],
)
def test_every_field_is_checked_and_named(tmp_path, path, values):
    *places, last = path.split(" ")
    for value in values:
        with pytest.raises(BundleError, match="manifest.json") as raised:
            read(tmp_path, changed(path, value))
        message = str(raised.value)
        assert last.partition("/")[0] in message or (places and places[-1] in message), (value, message)
        assert "Export the bundle again" in message
        assert len(message) - len(str(tmp_path)) < 600


def test_a_message_has_the_path_what_was_found_and_what_was_expected(tmp_path):
    for path, value, message in (
        ("variants fp32 stages 2", 7, "variants.fp32.stages[2] is 7; expected the path of a file inside the bundle"),
        ("files fp32/row.onnx bytes", "1", 'files["fp32/row.onnx"].bytes is "1"; expected a whole number from 0'),
        ("files fp32/row.onnx", ..., 'files["fp32/row.onnx"] is missing; expected bytes and sha256'),
        ("max_length", ..., "max_length is missing; expected a whole number from 1"),
        ("max_length", 67, "max_length is 67; expected at most max_positions, which is 66"),
        ("labels", ["a" * 1000] * 2, "aaaa ... aaaa"),
    ):
        with pytest.raises(BundleError) as raised:
            read(tmp_path, changed(path, value))
        assert message in str(raised.value)
        assert str(tmp_path / "manifest.json") in str(raised.value)


@pytest.mark.parametrize("key", ["../x", "/x", "", "a\\b", "a\0b", "C:x", "a/../../x"])
def test_no_file_is_named_outside_the_bundle(tmp_path, key):
    document = make_document()
    document["files"][key] = {"bytes": 1, "sha256": HASH}
    with pytest.raises(BundleError, match="files.*expected another key"):
        read(tmp_path, document)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\\b", "a\0"])
def test_a_variants_name_is_one_folder(tmp_path, name):
    document = make_document()
    document["variants"][name] = document["variants"].pop("fp32")
    with pytest.raises(BundleError, match="variants.*expected another key"):
        read(tmp_path, document)


def test_the_fields_of_a_tensorrt_variant_are_checked(tmp_path):
    document = make_document()
    document["variants"]["trt"] = {**TENSORRT, "row": None}
    document["files"] |= {file: {"bytes": 1, "sha256": HASH} for file in (*TENSORRT["stages"], "trt/embeddings.onnx")}
    document["files"]["trt/chain.onnx"] = {"bytes": 1, "sha256": HASH}
    assert read(tmp_path, document).variants[1].tensorrt_build.sm == "sm90"
    for broken in ({"compaction": None}, {"tensorrt": {**TENSORRT["tensorrt"], "sm": 90}}):
        record = {**document["variants"]["trt"], **broken}
        with pytest.raises(BundleError, match=f"variants.trt.{next(iter(broken))}"):
            read(tmp_path, {**document, "variants": {"trt": record}})


def test_the_fields_of_a_variant_for_rtx_are_checked(tmp_path):
    document = make_document()
    details = {**TENSORRT["tensorrt"], "compute_capabilities": ["8.9", ">12.0"]}
    del details["sm"]
    record = {**TENSORRT, "row": None, "engine": "tensorrt-rtx", "devices": ["tensorrt-rtx"], "tensorrt": details}
    document["files"] |= {file: {"bytes": 1, "sha256": HASH} for file in (*TENSORRT["stages"], "trt/embeddings.onnx")}
    document["files"]["trt/chain.onnx"] = {"bytes": 1, "sha256": HASH}
    [found] = read(tmp_path, {**document, "variants": {"trt": record}}).variants
    assert (found.tensorrt_build.sm, found.tensorrt_build.compute_capabilities) == (None, ("8.9", ">12.0"))
    for broken in (
        {"engine": "tensorrt"},
        {"tensorrt": {**TENSORRT["tensorrt"]}},
        {"tensorrt": {**details, "compute_capabilities": ["sm89"]}},
        {"compaction": None},
    ):
        with pytest.raises(BundleError, match=f"variants.trt.{next(iter(broken))}"):
            read(tmp_path, {**document, "variants": {"trt": {**record, **broken}}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b" \n", "not JSON"),
        (b"{", "not JSON"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (json.dumps(make_document()).encode("utf-8-sig"), "byte order mark"),
        (json.dumps(make_document()).encode("utf-16"), "byte 1 .0xff. is not UTF-8"),
        (json.dumps(make_document()).encode("utf-16-le"), "not JSON"),
        (b'{"schema": "caf\xe9"}', "byte 16 .0xe9. is not UTF-8"),
        (b"null", "it is null, not an object"),
        (b"[]", r"it is \[\], not an object"),
        (b'"fastbert-bundle/1"', "not an object"),
        (b"17", "not an object"),
        (b'{"max_length": ' + b"9" * 5000 + b"}", "more than [0-9]+ digits"),
        (b"[" * 100_000, "lists and objects"),
        (b'{"a":' * 100_000, "lists and objects"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "lists and objects"),
        (json.dumps(make_document()).encode()[:-1] + b', "labels": ["a"]}', "labels is .* only once"),
        (b'{"a": {"b": 1, "b": 2}}', r"a\.b is 2; expected a field only once"),
        (b'{"a": [{"b": 1, "b": 2}], "a": [{"b": 1, "b": 2}]}', "only once"),
        (b'{"schema": "fastbert-bundle/1", "labels": ["\\ud800"]}', r"labels\[0\] is .*unpaired surrogate"),
        (b'{"schema": "fastbert-bundle/1", "note": {"\\udfff": 1}}', r"note.*unpaired surrogate"),
    ],
)
def test_other_documents_than_json_objects_are_refused(tmp_path, content, message):
    with pytest.raises(BundleError, match=message):
        read(tmp_path, content)


def test_a_manifest_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "directory" / "manifest.json").mkdir(parents=True)
    os.mkfifo(tmp_path / "manifest.json")
    (tmp_path / "loop").symlink_to("loop")
    for path, message in (
        (tmp_path / "directory", "is not a bundle: .*manifest.json is not a file"),
        (tmp_path, "is not a bundle: .*manifest.json is not a file"),
        (tmp_path / "nowhere", "is not a bundle: .*manifest.json is missing. Create one with: fastbert export"),
        (tmp_path / "loop", "is not a bundle|cannot be read"),
        (tmp_path / ("a" * 300), "cannot be read"),
        (tmp_path / "a\0b", "is not a bundle|cannot be read"),
        (tmp_path / "manifest.json", "is not a bundle|cannot be read"),
    ):
        with pytest.raises(BundleError, match=message):
            read_manifest(path)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(manifest_module.Path, "read_bytes", refuse)
    monkeypatch.setattr(manifest_module.Path, "is_file", lambda _: True)
    with pytest.raises(BundleError, match="cannot be read: Permission denied"):
        read_manifest(tmp_path)


def test_manifests_of_earlier_versions_mean_what_they_did(tmp_path):
    document = make_document()
    for name in ("layer_norm", "default_token_type", "uncertainty", "made_with", "verification"):
        del document[name]
    for name in ("exact", "saturates", "compaction", "chain", "row"):
        del document["variants"]["fp32"][name]
    document["variants"]["fp32"]["early_exit"] = "fp32/early_exit.onnx"
    found = read(tmp_path, document)
    assert (found.default_token_type, found.truncation_side, found.uncertainty) == (0, "right", "entropy")
    [fp32] = found.variants
    assert (fp32.exact, fp32.saturates, fp32.compaction, fp32.chain, fp32.row) == (True, True, None, None, None)
    assert fp32.files == ("fp32/embeddings.onnx", *(f"fp32/stage_{number:02d}.onnx" for number in range(3)))


def test_unknown_fields_and_unusual_values_are_accepted(tmp_path):
    document = make_document()
    document |= {"schema": "fastbert-bundle/1.3", "new": {"field": [None]}, "default_speed": 1, "labels": ["only"]}
    document |= {"truncation_side": "left", "max_length": 66, "uncertainty": "new"}
    document["variants"]["fp32"] |= {"devices": [], "new": 1, "engine": "other"}
    document["files"]["tokenizer.json"] |= {"sha256": HASH.upper(), "new": 1}
    document["files"]["a b/ü [x].onnx"] = {"bytes": 0, "sha256": HASH}
    found = read(tmp_path, document)
    assert (found.default_speed, found.truncation_side, found.labels) == (1, "left", ("only",))
    assert found.uncertainty == "new"  # the engines compute it
    assert found.raw["new"] == {"field": [None]}


def test_a_hash_may_be_in_capitals(tmp_path):
    document = make_document()
    (tmp_path / "tokenizer.json").write_bytes(b"abc")
    digest = manifest_module.file_record(tmp_path / "tokenizer.json")["sha256"]
    document["files"]["tokenizer.json"] = {"bytes": 3, "sha256": digest.upper()}
    check_files(tmp_path, read(tmp_path, document), ["tokenizer.json"], contents=True)


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    found = read(tmp_path, make_document())
    (tmp_path / "tokenizer.json").write_bytes(b"a")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(manifest_module, "file_record", refuse)
    with pytest.raises(BundleError, match=r"tokenizer\.json cannot be read: Permission denied"):
        check_files(tmp_path, found, ["tokenizer.json"], contents=True)
    with pytest.raises(BundleError, match="cannot be read: File name too long"):
        monkeypatch.setitem(found.files, "a" * 300, {"bytes": 1, "sha256": HASH})
        check_files(tmp_path, found, ["a" * 300], contents=True)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def nodes(document, *places):
    yield places
    if isinstance(document, dict | list):
        for place, inner in document.items() if isinstance(document, dict) else enumerate(document):
            yield from nodes(inner, *places, place)


NODES = [places for places in nodes(make_document()) if places]


def with_change(data):
    """A manifest with one random value replaced by another, or removed."""
    document = make_document()
    *places, last = data.draw(st.sampled_from(NODES))
    inside = document
    for place in places:
        inside = inside[place]
    if data.draw(st.booleans()):
        del inside[last]
    else:
        inside[last] = copy.deepcopy(data.draw(values | st.sampled_from([2**63, -1, 10**300, "../x", "\ud800"])))
    return document


@settings(max_examples=150)
@given(st.data())
def test_any_change_is_read_or_refused(tmp_path_factory, data):
    read_or_refused(tmp_path_factory, json.dumps(with_change(data)).encode(errors="surrogatepass"))


@given(st.binary(max_size=64) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    read_or_refused(tmp_path_factory, content)


def read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any"
    path.mkdir(exist_ok=True)
    try:
        found = read(path, content)
    except BundleError as error:
        assert str(path / "manifest.json") in str(error)
        str(error).encode()
    else:
        assert isinstance(found, Manifest)
        json.dumps(found.raw, ensure_ascii=False, indent=2).encode()  # as fastbert info prints it


def with_new_engine(tmp_path, **record):
    """A manifest whose first variant for the CPU has an engine that nobody knows yet."""
    document = make_document(variants=("new", "fp32"))
    document["variants"]["new"] |= {"engine": "engine_of_the_future", **record}
    return read(tmp_path, document)


def test_a_variant_of_an_unknown_engine_is_skipped(tmp_path):
    found = with_new_engine(tmp_path)
    assert found.variant_for("cpu").name == "fp32"
    assert [variant.runs_on("cpu") for variant in found.variants] == [False, True]


@pytest.mark.parametrize(
    ("record", "device", "name", "held"),
    [
        ({}, "cpu", "new", r"new for cpu \(this fastbert cannot run the engine 'engine_of_the_future' on 'cpu'"),
        (
            {"devices": ["cuda"], "engine": "onnxruntime"},
            "cuda",
            None,
            r"new for cuda \(this fastbert cannot run the engine 'onnxruntime' on 'cuda'; a newer one may: pip install",
        ),
        ({"devices": []}, "cpu", "new", "new for fastbert build; fp32 for cpu"),
    ],
    ids=["by name", "an engine for another device", "no device"],
)
def test_a_variant_that_cannot_run_says_why(tmp_path, record, device, name, held):
    found = with_new_engine(tmp_path, **record)
    with pytest.raises(UsageError, match=f"no variant .*for device '{device}'. It has: {held}"):
        found.variant_for(device, name)
