"""Named speeds: read from the manifest, and given only for the engines that they were tuned on."""

import hashlib
import json
import os
from ctypes import byref, c_double

import numpy as np
import pytest

from fastbert.runtime import BundleError, UsageError
from fastbert.runtime.manifest import read_manifest
from fastbert.runtime.operating_points import resolve_speed

ROW = np.array([[1, 5, 6, 2]])
DIGEST = "0" * 64


def digest_of(manifest, name):
    """One line ``PATH SHA256`` for the embeddings and for each stage, as docs/bundle-format.md has it."""
    variant = manifest["variants"][name]
    files = [variant["embeddings"], *variant["stages"]]
    lines = (f"{file} {manifest['files'][file]['sha256']}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def point(speed, variant="fp32", digest=DIGEST, **others):
    return {"speed": speed, "variant": variant, "variant_sha256": digest, **others}


@pytest.fixture
def tuned(copied):
    """A function: operating points -> a bundle that has them, with the digest of their variant where they have none."""

    def write(points):
        path = copied / "manifest.json"
        manifest = json.loads(path.read_text())
        for one in points.values() if isinstance(points, dict) else ():
            if isinstance(one, dict) and one.get("variant_sha256") == DIGEST:
                one["variant_sha256"] = digest_of(manifest, one["variant"])
        path.write_text(json.dumps(manifest | {"operating_points": points}))
        return copied

    return write


def change_manifest(bundle, change):
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def refused(session, name):
    with pytest.raises(UsageError) as raised:
        session.operating_point(name)
    return str(raised.value)


def test_a_point_is_a_speed_to_classify_at(open_session, tuned):
    points = {"balanced": point(0.42, target={"max_drop": 0.5}, rows=[1]), "A-1_b": point(1), "int": point(0, "int8")}
    bundle = tuned(points)
    session = open_session(bundle)
    assert session.operating_points == ["balanced", "A-1_b", "int"]
    assert [session.operating_point(name) for name in ("balanced", "A-1_b")] == [0.42, 1.0]
    assert session.run(ROW, speed=session.operating_point("A-1_b")).exit_layer.tolist() == [0]
    assert open_session(bundle, variant="int8").operating_point("int") == 0.0


def test_a_bundle_without_points(open_session, family_bundle, tuned):
    for bundle in (family_bundle("bert"), tuned({})):
        session = open_session(bundle)
        assert session.operating_points == []
        assert 'no operating point "fast": it has none. Make one with: fastbert tune' in refused(session, "fast")


def test_an_unknown_name_lists_the_known_ones(open_session, tuned):
    session = open_session(tuned({"balanced": point(0.5), "quick": point(0.9, "int8")}))
    assert refused(session, "Balanced") == (
        'The bundle has no operating point "Balanced": it has balanced, quick. Make one with: '
        "fastbert tune BUNDLE --data DATA --min-agreement 0.99 --variant fp32 --name Balanced"
    )
    for name in ("0.5", "", "5", "-a", "a b", "a/b", "é", "a" * 65, "nan?"):
        assert "which is no name of an operating point: a letter, then at most 63 letters" in refused(session, name)


def test_a_point_of_another_variant_names_the_command(open_session, tuned):
    session = open_session(tuned({"quick": point(0.9, "int8"), "gone": point(0.5, "fp16", "a" * 64)}))
    assert refused(session, "quick") == (
        'The operating point "quick" was tuned on the variant "int8"; this model runs "fp32". Load that variant, or '
        "tune this one: fastbert tune BUNDLE --data DATA --min-agreement 0.99 --variant fp32 --name quick-fp32"
    )
    assert 'tuned on the variant "fp16"' in refused(session, "gone")


def test_a_point_of_engines_that_were_exported_again_is_refused(open_session, tuned):
    bundle = tuned({"old": point(0.5, digest="a" * 64), "new": point(0.5)})
    assert refused(open_session(bundle), "old") == (
        'The variant "fp32" was exported or built again since the operating point "old" was tuned, so its figures may '
        "no longer hold. Tune it again: fastbert tune BUNDLE --data DATA --min-agreement 0.99 --variant fp32 --name old"
    )
    stages = [f"fp32/stage_{number:02d}.onnx" for number in range(3)]
    for file in ("fp32/embeddings.onnx", *stages):
        before = (bundle / "manifest.json").read_bytes()
        change_manifest(bundle, lambda manifest, file=file: manifest["files"][file].update(sha256="b" * 64))
        assert "was exported or built again" in refused(open_session(bundle, skip_checksums=1), "new")
        (bundle / "manifest.json").write_bytes(before)
    change_manifest(bundle, lambda manifest: manifest["variants"]["fp32"].update(stages=[*stages[1:], stages[0]]))
    assert "was exported or built again" in refused(open_session(bundle, batches=1), "new")


@pytest.mark.parametrize(
    ("record", "options"),
    [
        ({"target": {"kind": "max_drop", "value": 0.5}}, "--max-drop 0.5"),
        ({"target": {"kind": "min_agreement", "value": 0.98}, "guarantee": {"confidence": 0.9}},
         "--min-agreement 0.98 --confidence 0.9"),
        ({"target": {"kind": "max_latency_ms", "value": 2.0, "threads": 2}}, "--max-latency-ms 2.0 --threads 2"),
        ({"target": {"kind": "speedup", "value": 3}, "guarantee": None}, "--speedup 3"),
        ({"target": {"kind": "a_b_c_d", "value": 1e-05}}, "--a-b-c-d 1e-05"),
        *(({"target": target}, "--min-agreement 0.99") for target in (
            {"kind": "; rm", "value": 1}, {"kind": "max_drop", "value": "1"}, {"kind": "max_drop", "value": True},
            {"kind": "_a", "value": 1}, {"kind": "a__b", "value": 1}, {"kind": "a_", "value": 1},
            {"kind": "a_b_c_d_e", "value": 1}, {"kind": "x" * 21, "value": 1}, {"kind": "", "value": 1},
            {"kind": ["a"], "value": 1}, {"value": 1}, {"kind": "max_drop"}, {}, ["?"], "?", None,
        )),
        ({}, "--min-agreement 0.99"),
    ],
)  # fmt: skip
def test_the_command_that_tunes_again_has_the_points_own_target_as_pythons(open_session, tuned, record, options):
    bundle = tuned({"old": point(0.5, digest="a" * 64, **record), "other": point(0.5, "int8", **record)})
    session, manifest = open_session(bundle), read_manifest(bundle)
    for name, written in (("old", "old"), ("other", "other-fp32")):
        command = f"fastbert tune BUNDLE --data DATA {options} --variant fp32 --name {written}"
        assert refused(session, name).endswith(command)
        with pytest.raises(UsageError) as raised:
            resolve_speed(manifest, manifest.variant_for("cpu", "fp32"), name)
        assert str(raised.value).endswith(command)


def test_what_does_not_change_an_answer_does_not_make_a_point_old(open_session, tuned):
    bundle = tuned({"balanced": point(0.5)})

    def change(manifest):
        for file in ("fp32/row.onnx", "fp32/chain.onnx", "int8/stage_00.onnx"):
            manifest["files"][file]["sha256"] = "b" * 64
        for file, record in manifest["files"].items():
            record["sha256"] = record["sha256"].upper() if file.startswith("fp32/stage") else record["sha256"]
        balanced = manifest["operating_points"]["balanced"]
        balanced["variant_sha256"] = balanced["variant_sha256"].upper()

    change_manifest(bundle, change)
    assert open_session(bundle, skip_checksums=1).operating_point("balanced") == 0.5


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (None, "operating_points is null; expected an object of operating points, keyed by name"),
        ([], "operating_points is []; expected an object of operating points, keyed by name"),
        ({"a": None}, "operating_points.a is null; expected an object with speed, variant and variant_sha256"),
        ({"0.5": point(0.5)}, 'expected another key: "0.5" is not a letter, then at most 63 letters, digits, _ or -'),
        ({"a" * 65: point(0.5)}, "is not a letter, then at most 63 letters, digits, _ or -"),
        ({"a": point(1.5)}, "operating_points.a.speed is 1.5; expected a number from 0 to 1"),
        ({"a": point(True)}, "operating_points.a.speed is true; expected a number from 0 to 1"),
        ({"a": {"speed": 0.5, "variant": "fp32"}}, "operating_points.a.variant_sha256 is missing; expected 64 hex"),
        ({"a": point(0.5, digest="abc")}, 'operating_points.a.variant_sha256 is "abc"; expected 64 hexadecimal digits'),
        ({"a": point(0.5, "a/b", "a" * 64)}, 'operating_points.a.variant is "a/b"; expected a name without slashes'),
    ],
)
def test_a_point_that_is_damaged_is_refused_by_its_place(open_session, tuned, points, message):
    with pytest.raises(BundleError) as raised:
        open_session(tuned(points))
    assert message in str(raised.value)


def test_null_pointers(libfastbert, open_session, tuned):
    session = open_session(tuned({"a": point(0.5)}))
    speed, usage = c_double(), 1
    for arguments, name in (
        ((None, b"a", byref(speed)), "model"),
        ((session._model, None, byref(speed)), "name"),
        ((session._model, b"a", None), "speed"),
    ):
        assert libfastbert.fastbert_model_operating_point(*arguments) == usage
        assert libfastbert.fastbert_last_error().decode() == f"`{name}` is null."
    assert libfastbert.fastbert_model_operating_point_name(None, 0) is None
    assert libfastbert.fastbert_model_operating_point_name(session._model, 1) is None
    assert libfastbert.fastbert_model_operating_point(session._model, os.fsencode("a"), byref(speed)) == 0


def test_a_name_that_is_not_utf_8_is_refused_in_words(libfastbert, open_session, tuned):
    session = open_session(tuned({"a": point(0.5)}))
    assert libfastbert.fastbert_model_operating_point(session._model, b"\xff", byref(c_double())) == 1
    assert "no name of an operating point" in libfastbert.fastbert_last_error().decode()
