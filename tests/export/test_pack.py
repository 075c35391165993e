"""`fastbert pack`: one file that answers as its bundle does, or no file."""

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support.factories import make_checkpoint, make_rows

from fastbert.export import Bounds, ExportOptions, export_bundle, pack, packing
from fastbert.export.joined import external_weights
from fastbert.runtime import Classifier
from fastbert.runtime.errors import BundleError, OutputExistsError, UsageError, VerificationError
from fastbert.runtime.manifest import file_record

DOCUMENT = Path(__file__).parents[2] / "docs" / "bundle-format.md"
SPEEDS = (0.0, 0.1, 0.3, 0.5, 0.8)


@pytest.fixture(autouse=True, scope="module")
def small_weights_are_external():
    """As the large ones of real models are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_weights, "_EXTERNAL_BYTES", 256)
        yield


@pytest.fixture(scope="module")
def bundle(checkpoint, tmp_path_factory):
    """A bundle of fp32 and int8, whose models of a single row read weights from other files; only read it."""
    path = tmp_path_factory.mktemp("pack") / "bundle"
    bounds = Bounds(max_label_flips=0.2)  # random weights: many rows are near a boundary
    export_bundle(checkpoint, path, ExportOptions(precisions=("fp32", "int8"), bounds=bounds))
    return path


@pytest.fixture
def copy(bundle, tmp_path):
    """A bundle to change."""
    return shutil.copytree(bundle, tmp_path / "bundle")


def change_manifest(bundle, change):
    """Apply a function to the document of the manifest, and record every file as it is now."""
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    document["files"] = {name: file_record(bundle / name) for name in document["files"]}
    path.write_text(json.dumps(document))


def metadata_of(path):
    """Return the metadata as ONNX Runtime gives it: name -> text."""
    return onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map


def answers(path, bundle, rows, variant="fp32", options=None):
    """Yield each row's answers: of the file in plain ONNX Runtime, and of the bundle."""
    session = onnxruntime.InferenceSession(path, options)
    classifier = Classifier.load(bundle, variant=variant, threads=1)
    for number, row in enumerate(rows):
        encoded, speed = classifier.encode([row.text_input]), SPEEDS[number % len(SPEEDS)]
        feeds = {"input_ids": encoded.input_ids, "token_type_ids": encoded.token_type_ids}
        feeds["speed"] = np.array([speed], np.float32)
        expected = classifier.run(encoded.input_ids, None, encoded.token_type_ids, speed=speed)
        logits, exit_layer, uncertainty = session.run(["logits", "exit_layer", "uncertainty"], feeds)
        yield (
            (logits.tolist(), exit_layer.tolist(), uncertainty.tolist()),
            (expected.logits.tolist(), expected.exit_layer.tolist(), expected.uncertainty.tolist()),
        )


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_alone_in_plain_onnx_runtime_it_gives_the_bundles_answers(bundle, tmp_path, variant):
    report = pack(bundle, tmp_path / "model.onnx", variant=variant)
    assert os.listdir(tmp_path) == ["model.onnx"]
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert (report.variant, report.bytes, report.rows) == (variant, (tmp_path / "model.onnx").stat().st_size, 40)
    exits = set()
    for found, expected in answers(tmp_path / "model.onnx", bundle, make_rows(100, seed=7), variant):
        assert found == expected
        exits |= set(found[1])
    assert exits == {0, 1, 2}


@pytest.mark.parametrize("family", ["xlm-roberta", "electra"])
def test_other_families_answer_alike_with_the_documented_option(family, tmp_path):
    """Without it, ONNX Runtime fuses operators in some families, which changes the last digits."""
    key, value = "optimization.disable_specified_optimizers", "SkipLayerNormFusion"
    assert f"`{key}` = `{value}`" in DOCUMENT.read_text()
    export_bundle(make_checkpoint(family), tmp_path / "bundle")
    pack(tmp_path / "bundle", tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(key, value)
    files, rows = (tmp_path / "model.onnx", tmp_path / "bundle"), make_rows(20, seed=8, pairs=True)
    assert all(found == expected for found, expected in answers(*files, rows, options=options))
    for found, expected in answers(*files, rows):
        assert found[1] == expected[1]
        assert np.abs(np.subtract(found[0], expected[0])).max() <= 1e-4


def test_its_metadata_is_the_manifests_in_json(bundle, tmp_path):
    report = pack(bundle, tmp_path / "model.onnx", variant="int8")
    metadata = {key: json.loads(value) for key, value in metadata_of(tmp_path / "model.onnx").items()}
    document = json.loads((bundle / "manifest.json").read_text())
    same = "labels max_length max_positions vocab_size type_vocab_size default_token_type pad_token_id".split()
    same += "truncation_side layers exits default_speed".split()
    digest = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    assert metadata == {
        **{f"fastbert.{name}": document[name] for name in same},
        "fastbert.schema": "fastbert-packed/1",
        "fastbert.uncertainty": "entropy",
        "fastbert.variant": "int8",
        "fastbert.precision": "int8",
        "fastbert.exact": False,
        "fastbert.saturates": True,
        "fastbert.bundle_sha256": digest,
        "fastbert.tokenizer_sha256": hashlib.sha256((bundle / "tokenizer.json").read_bytes()).hexdigest(),
    }
    assert report.bundle_sha256 == digest
    document = DOCUMENT.read_text()
    assert [name for name in metadata if f"| `{name}` |" not in document] == []


def test_another_measure_of_uncertainty_is_passed_on(copy, tmp_path):
    change_manifest(copy, lambda document: document.update(uncertainty="margin"))
    pack(copy, tmp_path / "model.onnx")
    assert metadata_of(tmp_path / "model.onnx")["fastbert.uncertainty"] == '"margin"'


def test_labels_outside_ascii_are_utf_8(copy, tmp_path):
    change_manifest(copy, lambda document: document.update(labels=["schlecht", "так себе", "très bon"]))
    pack(copy, tmp_path / "model.onnx")
    assert metadata_of(tmp_path / "model.onnx")["fastbert.labels"] == '["schlecht", "так себе", "très bon"]'


def test_a_bundle_of_one_stage_is_joined(checkpoint, tmp_path):
    export_bundle(checkpoint, tmp_path / "bundle", ExportOptions(layers_per_stage=3))
    assert not (tmp_path / "bundle/fp32/row.onnx").exists()
    pack(tmp_path / "bundle", tmp_path / "model.onnx")
    rows = make_rows(20, seed=8)
    for found, expected in answers(tmp_path / "model.onnx", tmp_path / "bundle", rows):
        assert found[1] == expected[1] == [2]
        assert np.abs(np.subtract(found[0], expected[0])).max() <= 1e-4


def test_a_bundle_without_the_single_rows_model_is_joined(bundle, copy, tmp_path):
    change_manifest(copy, lambda document: document["variants"]["fp32"].update(row=None, chain=None))
    pack(copy, tmp_path / "model.onnx")
    rows = make_rows(20, seed=8)
    assert all(found == expected for found, expected in answers(tmp_path / "model.onnx", bundle, rows))


def test_a_bundle_of_links_is_packed(bundle, copy, tmp_path):
    for path in copy.rglob("*.*"):
        if path.is_file():
            path.unlink()
            path.symlink_to(bundle / path.relative_to(copy))
    pack(copy, tmp_path / "model.onnx")
    rows = make_rows(20, seed=8)
    assert all(found == expected for found, expected in answers(tmp_path / "model.onnx", bundle, rows))


@pytest.mark.parametrize("variant", ["fp16", "int2"])
def test_a_variant_for_a_gpu_or_an_unknown_one_is_refused(gpu_bundle, tmp_path, variant):
    with pytest.raises(UsageError, match=f"no variant '{variant}' for device 'cpu'. It has: fp32 for cpu; fp16 for"):
        pack(gpu_bundle, tmp_path / "model.onnx", variant=variant)
    assert os.listdir(tmp_path) == []


def test_a_model_too_large_for_one_file_is_refused(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_MOST_BYTES", 10_000)
    with pytest.raises(UsageError, match=r"one ONNX file holds at most 2 GiB. .* fp32/row.onnx"):
        pack(bundle, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


def test_a_file_that_exists_is_replaced_only_on_request_and_only_if_it_was_packed(copy, tmp_path):
    pack(copy, tmp_path / "model.onnx")
    before = (tmp_path / "model.onnx").read_bytes()
    change_manifest(copy, lambda document: document.update(default_speed=0.25))
    with pytest.raises(OutputExistsError, match="already exists"):
        pack(copy, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == before
    pack(copy, tmp_path / "model.onnx", overwrite=True)
    assert metadata_of(tmp_path / "model.onnx")["fastbert.default_speed"] == "0.25"
    row = copy / "fp32/row.onnx"
    kept = row.read_bytes()
    with pytest.raises(OutputExistsError, match=r"row.onnx is not a packed file, so `overwrite` would destroy"):
        pack(copy, row, overwrite=True)
    assert row.read_bytes() == kept
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("empty", "pipe"):
        with pytest.raises(OutputExistsError, match=f"{name} is not a packed file"):
            pack(copy, tmp_path / name, overwrite=True)
    with pytest.raises(UsageError, match="Is a directory"):
        pack(copy, tmp_path, overwrite=True)


def test_a_file_made_meanwhile_is_kept(bundle, tmp_path, monkeypatch):
    def check_slowly(*arguments):
        (tmp_path / "model.onnx").write_text("another's")
        return 0

    monkeypatch.setattr(packing, "_check_answers", check_slowly)
    with pytest.raises(OutputExistsError):
        pack(bundle, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_text() == "another's"


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("manifest.json", lambda content: content[:-9], "manifest.json is damaged"),
        ("fp32/stage_01.onnx", lambda content: content[:-1], "stage_01.onnx has .* bytes"),
        ("fp32/stage_01.onnx", lambda content: bytes([content[0] ^ 1]) + content[1:], "stage_01.onnx was altered"),
        ("fp32/row.onnx", None, "row.onnx is missing"),
        ("golden.npz", lambda content: content[:50] + bytes(50) + content[100:], "golden.npz was altered"),
        ("tokenizer.json", lambda content: content.replace(b"good", b"evil"), "tokenizer.json was altered"),
    ],
)
def test_a_damaged_bundle_is_named(copy, tmp_path, name, damage, message):
    file = copy / name
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BundleError, match=message):
        pack(copy, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == ["bundle"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("location", "../secret", "is in ../secret, which is not an engine of the variant"),
        ("offset", str(2**40), "is beyond the end of .*.onnx"),
    ],
)
def test_weights_in_wrong_places_are_refused(copy, tmp_path, key, value, message):
    row = copy / "fp32/row.onnx"
    model = onnx.load(row, load_external_data=False)
    weights = [*model.graph.initializer]
    weights += [weight for node in model.graph.node for part in node.attribute for weight in part.g.initializer]
    external = next(weight for weight in weights if weight.external_data)
    next(entry for entry in external.external_data if entry.key == key).value = value
    row.write_bytes(model.SerializeToString())
    change_manifest(copy, lambda document: None)
    with pytest.raises(BundleError, match=f"cannot be joined: .*{message}"):
        pack(copy, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == ["bundle"]


def test_a_file_that_answers_otherwise_is_not_written(bundle, tmp_path, monkeypatch):
    embed = packing.embed_weights

    def embed_wrongly(model, files):
        embed(model, files)
        weight = model.graph.initializer[0]
        weight.raw_data = bytes(len(weight.raw_data))

    monkeypatch.setattr(packing, "embed_weights", embed_wrongly)
    with pytest.raises(VerificationError, match=r"answers golden row \d+ with .* at speed 0.\d. No file was written"):
        pack(bundle, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


def test_a_bundle_that_is_replaced_meanwhile_is_not_packed(copy, tmp_path, monkeypatch):
    describe = packing._describe

    def describe_slowly(*arguments):
        change_manifest(copy, lambda document: document.update(labels=["a", "b", "c"]))
        describe(*arguments)

    monkeypatch.setattr(packing, "_describe", describe_slowly)
    with pytest.raises(BundleError, match="replaced or written to while it was packed"):
        pack(copy, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == ["bundle"]


def test_a_full_disk_leaves_nothing(bundle, tmp_path, monkeypatch):
    write = Path.write_bytes

    def write_half(path, content):
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left on device") as raised:
        pack(bundle, tmp_path / "model.onnx")
    assert raised.value.filename == str(tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


def test_the_command_line(run_cli, bundle, tmp_path):
    code, out, err = run_cli("pack", bundle, "--output", tmp_path / "model.onnx")
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'model.onnx'}: ")
    assert "fp32" in out
    assert "same answers as" in out
    code, _, err = run_cli("pack", bundle, "--output", tmp_path / "model.onnx")
    assert (code, err.count("\n")) == (1, 1)
    assert "replace it with --overwrite." in err
    code, out, _ = run_cli(
        "pack", bundle, "--variant", "int8", "--output", tmp_path / "model.onnx", "--overwrite", "--json"
    )
    assert code == 0
    assert json.loads(out)["variant"] == "int8"
