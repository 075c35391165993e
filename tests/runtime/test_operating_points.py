import dataclasses
import hashlib
import json
import shutil

import pytest

from fastbert.console.operating_points import point_lines
from fastbert.runtime import Classifier, OperatingPoint
from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.manifest import MANIFEST, read_manifest
from fastbert.runtime.operating_points import POINT_NAME, resolve_speed, usable_speeds, variant_digest

TEXTS = ["good film", "bad dull plot and a quick actor", "so bright", ""]


@pytest.fixture
def write(bundle, tmp_path):
    """Copy the bundle, with these operating points in its manifest: name -> changes of a valid point."""
    path = tmp_path / "bundle"
    shutil.copytree(bundle, path)

    def write_points(**points):
        document = json.loads((path / MANIFEST).read_text())
        manifest = read_manifest(bundle)
        digest = variant_digest(manifest, manifest.variants[0])
        valid = {"speed": 0.6, "variant": "fp32", "variant_sha256": digest}
        document["operating_points"] = {name: {**valid, **changes} for name, changes in points.items()}
        (path / MANIFEST).write_text(json.dumps(document))
        return path

    return write_points


def test_the_digest_is_that_of_the_documented_lines(bundle):
    manifest = read_manifest(bundle)
    variant, files = manifest.variants[0], json.loads((bundle / MANIFEST).read_text())["files"]
    names = ["fp32/embeddings.onnx", "fp32/stage_00.onnx", "fp32/stage_01.onnx", "fp32/stage_02.onnx"]
    text = "".join(f"{name} {files[name]['sha256']}\n" for name in names)
    assert variant_digest(manifest, variant) == hashlib.sha256(text.encode()).hexdigest()


def test_a_name_is_its_speed_everywhere(write, classifier):
    named = Classifier.load(write(balanced={}), threads=1)
    assert named.predict(TEXTS, speed="balanced") == classifier.predict(TEXTS, speed=0.6)
    assert named.predict(TEXTS[:1], speed="balanced") == classifier.predict(TEXTS[:1], speed=0.6)
    assert list(named.predict_iter(TEXTS, speed="balanced")) == classifier.predict(TEXTS, speed=0.6)
    ids = classifier.encode(TEXTS[1:2]).input_ids
    assert named.run(ids, speed="balanced").exit_layer == classifier.run(ids, speed=0.6).exit_layer
    assert named.predict(TEXTS) == classifier.predict(TEXTS)  # the default speed is still the bundle's


def test_a_point_is_read_from_the_manifest(write):
    manifest = read_manifest(write(balanced={"measured": {"agreement": 0.99}, "variant_sha256": "AB" * 32}))
    point = manifest.operating_points["balanced"]
    assert isinstance(point, OperatingPoint)
    assert (point.name, point.speed, point.variant, point.variant_sha256) == ("balanced", 0.6, "fp32", "ab" * 32)
    assert point.record["measured"] == {"agreement": 0.99}
    assert usable_speeds(manifest, manifest.variants[0]) == {}


def test_a_bundle_without_points_has_none(bundle, classifier):
    assert read_manifest(bundle).operating_points == {}
    with pytest.raises(UsageError, match="of that name: it has none. .* fastbert tune .*--name fast$"):
        classifier.predict(["good"], speed="fast")


def test_an_unknown_name_lists_the_known_ones(write):
    named = Classifier.load(write(balanced={}, quick={}), threads=1)
    with pytest.raises(UsageError, match="`speed` is 'fast', and .*: it has balanced, quick. Make one with: fastbert"):
        named.predict(["good"], speed="fast")


@pytest.mark.parametrize("speed", ["0.5", "", "half way", "ä"])
def test_what_cannot_be_a_name_is_refused_as_a_speed(classifier, speed):
    with pytest.raises(UsageError, match="it must be a number from 0 .* to 1, or the name of an operating point"):
        classifier.predict(["good"], speed=speed)


def test_a_point_of_another_variant_is_refused(write):
    named = Classifier.load(write(balanced={"variant": "int8"}), threads=1)
    with pytest.raises(UsageError, match="'balanced' was tuned on the variant 'int8'; this is 'fp32'.* --variant fp32"):
        named.predict(["good"], speed="balanced")


def test_a_point_of_engines_that_were_exported_again_is_refused(write):
    path = write(balanced={"variant_sha256": "0" * 64})
    with pytest.raises(UsageError, match="'fp32' was exported or built again since .*'balanced'.*fastbert tune BUNDLE"):
        Classifier.load(path, threads=1).run([[1, 2]], speed="balanced")


@pytest.mark.parametrize(
    ("record", "flags"),
    [
        ({"target": {"kind": "max_drop", "value": 0.5}}, "--max-drop 0.5"),
        (
            {"target": {"kind": "min_agreement", "value": 0.98}, "guarantee": {"confidence": 0.9}},
            "--min-agreement 0.98 --confidence 0.9",
        ),
        ({"target": {"kind": "max_latency_ms", "value": 2.0, "threads": 2}}, "--max-latency-ms 2.0 --threads 2"),
        ({"target": {"kind": "; rm", "value": 1}}, "--min-agreement 0.99"),
        ({"target": {"kind": "speedup", "value": "3"}}, "--min-agreement 0.99"),
        ({"target": {"kind": "speedup", "value": 10**400}}, "--min-agreement 0.99"),
        ({"target": ["?"]}, "--min-agreement 0.99"),
        ({}, "--min-agreement 0.99"),
    ],
)
def test_the_command_that_tunes_again_has_the_points_own_target(write, record, flags):
    manifest = read_manifest(write(balanced={"variant_sha256": "0" * 64, **record}))
    with pytest.raises(UsageError) as raised:
        resolve_speed(manifest, manifest.variants[0], "balanced")
    assert str(raised.value).endswith(f"fastbert tune BUNDLE --data DATA {flags} --variant fp32 --name balanced")


@pytest.fixture
def tensorrt(bundle):
    """A manifest with a TensorRT variant of that bundle, and a function: (manifest, variant) with changed digests."""
    manifest = read_manifest(bundle)
    fp32 = manifest.variants[0]
    variant = dataclasses.replace(fp32, name="trt", engine="tensorrt", devices=("tensorrt",))

    def changed(*names, **fields):
        files = {file: dict(record) for file, record in manifest.files.items()}
        for name in names:
            files[name]["sha256"] = "b" * 64
        return dataclasses.replace(manifest, files=files), dataclasses.replace(variant, **fields)

    assert fp32.row == "fp32/row.onnx" and fp32.chain == "fp32/chain.onnx"
    return changed


def test_the_row_engine_of_a_tensorrt_variant_has_weights_of_its_own_and_is_part_of_the_digest(tensorrt):
    before = variant_digest(*tensorrt())
    assert variant_digest(*tensorrt("fp32/row.onnx")) != before != variant_digest(*tensorrt(row=None))
    assert variant_digest(*tensorrt("fp32/chain.onnx")) == before
    onnx = {"engine": "onnxruntime", "devices": ("cpu",)}
    assert variant_digest(*tensorrt("fp32/row.onnx", **onnx)) == variant_digest(*tensorrt(row=None, **onnx))
    assert variant_digest(*tensorrt(row=None)) == variant_digest(*tensorrt(**onnx))  # as it always was


def test_the_command_that_tunes_a_variant_for_a_gpu_names_the_device(tensorrt):
    with pytest.raises(UsageError, match="--variant trt --device tensorrt --name fast$"):
        resolve_speed(*tensorrt(), "fast")


def test_engines_that_the_manifest_does_not_have_yet_have_no_points(write):
    manifest = read_manifest(write(balanced={}))
    assert resolve_speed(manifest, None, 0.3) == 0.3
    with pytest.raises(UsageError, match="have no operating points"):
        resolve_speed(manifest, None, "balanced")


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 64])
def test_names(name):
    assert POINT_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "9", "0.5", "-a", "a b", "a,b", "x" * 65, "é", "a\n"])
def test_names_that_are_none(name, write):
    assert not POINT_NAME.fullmatch(name)
    with pytest.raises(BundleError, match=r"operating_points.*expected another key"):
        read_manifest(write(**{name: {}}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": 1.5}, r"operating_points\.p\.speed is 1\.5; expected a number from 0 to 1"),
        ({"speed": True}, r"operating_points\.p\.speed"),
        ({"variant_sha256": "abc"}, r"operating_points\.p\.variant_sha256 .*64 hexadecimal digits"),
        ({"variant": ""}, r"operating_points\.p\.variant"),
    ],
)
def test_a_damaged_point_is_named(write, changes, message):
    with pytest.raises(BundleError, match=message):
        read_manifest(write(p=changes))


def test_points_for_people(write):
    figures = {"measured": {"layer_speedup": 3.14, "agreement": 0.991}}
    guarantee = {"guarantee": {"kind": "min_agreement", "value": 0.99, "confidence": 0.95}}
    odd = {"measured": ["?"], "guarantee": {"confidence": "?"}}
    no_float = 10**400
    huge = {
        "measured": {"layer_speedup": no_float},
        "guarantee": {"kind": "max_drop", "value": no_float, "confidence": 1},
    }
    gone = {"variant": "int4"}
    drop = {"guarantee": {"kind": "max_drop", "value": 0.5, "confidence": 0.9}}
    newer = {"guarantee": {"kind": "min_recall", "value": 0.5, "confidence": 0.9}}
    path = write(
        balanced={**figures, **guarantee},
        drop=drop,
        newer=newer,
        old={"variant_sha256": "0" * 64},
        odd=odd,
        gone=gone,
        huge=huge,
    )
    lines = point_lines(read_manifest(path))
    assert lines[0] == (
        "operating point: balanced is speed 0.6 of fp32 (3.14 times fewer layers, agreement 99.10 %, agreement of at "
        "least 99 % guaranteed with 95 % confidence)"
    )
    assert lines.pop(1).endswith("(a loss of at most 0.5 points guaranteed with 90 % confidence)")
    assert lines.pop(1).endswith("(min_recall 0.5 guaranteed with 90 % confidence)")
    assert lines[1].endswith("old is speed 0.6 of fp32, which was exported or built again since: tune it again")
    assert lines[2] == "operating point: odd is speed 0.6 of fp32"
    assert lines[3] == "operating point: gone is speed 0.6 of int4, which is no longer in the bundle"
    assert lines[4] == "operating point: huge is speed 0.6 of fp32"


def test_info_lists_the_points(write, run_cli):
    path = write(balanced={})
    code, out, _ = run_cli("info", path)
    assert (code, out.splitlines()[-1]) == (0, "operating point: balanced is speed 0.6 of fp32")
    assert json.loads(run_cli("info", path, "--json")[1])["operating_points"]["balanced"]["speed"] == 0.6


def test_the_command_line_takes_names(write, run_cli):
    path = write(balanced={})
    code, out, _ = run_cli("predict", path, "good film", "--speed", "balanced")
    assert (code, out) == (0, run_cli("predict", path, "good film", "--speed", "0.6")[1])
    code, out, err = run_cli("predict", path, "good film", "--speed", "slow")
    assert (code, out) == (2, "")
    assert "--speed is 'slow', and the bundle has no operating point of that name: it has balanced." in err
