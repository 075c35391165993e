"""Bundles that are damaged, altered, replaced or linked: the same answers or errors as in Python."""

import json
import os
import shutil

import numpy as np
import pytest

from fastbert.runtime import BundleError, Classifier

ROW = np.array([[1, 5, 6, 2]])
ROWS = np.array([[1, 5, 6, 2], [1, 9, 6, 2]])


def change_manifest(bundle, change):
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def both_refuse(open_session, bundle, **options):
    """Return the C library's message, which must be Python's."""
    with pytest.raises(BundleError) as python:
        Classifier.load(bundle, threads=1, check_contents=not options.get("skip_checksums"))
    with pytest.raises(BundleError) as found:
        open_session(bundle, **options)
    assert str(found.value) == str(python.value)
    return str(found.value)


def test_missing(open_session, tmp_path):
    assert "is not a bundle" in both_refuse(open_session, tmp_path / "nowhere")
    assert "is not a bundle" in both_refuse(open_session, tmp_path)
    (tmp_path / "manifest.json").mkdir()
    assert "is not a file" in both_refuse(open_session, tmp_path)


@pytest.mark.parametrize("name", ["fp32/stage_01.onnx", "fp32/row.onnx", "tokenizer.json"])
def test_damaged_files(open_session, copied, name):
    path = copied / name
    contents = path.read_bytes()
    path.write_bytes(contents[:-1])
    assert f"{path} has {len(contents) - 1} bytes" in both_refuse(open_session, copied)
    path.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    assert f"{path} was altered: its sha256 differs" in both_refuse(open_session, copied)
    path.unlink()
    assert f"{path} is missing" in both_refuse(open_session, copied)


def test_checksums_can_be_skipped(open_session, copied):
    path = copied / "tokenizer.json"
    altered = path.read_bytes().replace(b"[UNK]", b"[unk]")
    path.write_bytes(altered)
    assert open_session(copied, skip_checksums=1).run(ROW).logits.shape == (1, 3)


def test_another_schema(open_session, copied):
    change_manifest(copied, lambda manifest: manifest.update(schema="fastbert-bundle/2"))
    with pytest.raises(
        BundleError, match=r'has the schema "fastbert-bundle/2"; this fastbert reads "fastbert-bundle/1'
    ):
        open_session(copied)


def test_other_number_of_labels(open_session, copied):
    change_manifest(copied, lambda manifest: manifest["labels"].append("fourth"))
    assert "has 4 labels; the engines have 3 classes" in both_refuse(open_session, copied)


def record(bundle, name):
    from fastbert.runtime.manifest import file_record

    change_manifest(bundle, lambda manifest: manifest["files"].update({name: file_record(bundle / name)}))


def test_engine_that_is_no_model(open_session, copied):
    (copied / "fp32/row.onnx").write_bytes(b"not a model")
    record(copied, "fp32/row.onnx")
    with pytest.raises(BundleError, match=r"row\.onnx could not be loaded by ONNX Runtime") as caught:
        open_session(copied)
    assert "\n" not in str(caught.value)  # a message of ONNX Runtime has line breaks


@pytest.mark.parametrize(
    ("role", "other", "message"),
    [
        ("row", "fp32/stage_00.onnx", r"fp32/stage_00\.onnx has no input `input_ids`. It takes hidden_states"),
        ("embeddings", "fp32/row.onnx", r"fp32/row\.onnx has no input `attention_mask`"),
        ("chain", "fp32/stage_00.onnx", r"fp32/stage_00\.onnx has no input `digit_0`"),
    ],
)
def test_engine_that_lacks_an_input(open_session, copied, role, other, message):
    """The manifest names another engine's file."""

    def change(manifest):
        variant = manifest["variants"]["fp32"]
        was, place = variant[role], other + ".copy"
        shutil.copy(copied / other, copied / (place := other.replace(".onnx", f"_as_{role}.onnx")))
        variant[role] = place
        manifest["files"][place] = manifest["files"].pop(other) | {}
        manifest["files"][other] = manifest["files"][place]
        assert was

    change_manifest(copied, change)
    with pytest.raises(BundleError, match=message.replace(r"\.onnx", rf"_as_{role}\.onnx", 1)):
        open_session(copied, batches=role != "row", threads=2)


def test_one_stage_of_another_model(open_session, copied, family_bundle):
    """Every stage is checked, not only the first."""
    import onnx

    path = copied / "fp32/stage_02.onnx"
    model = onnx.load(path)
    model.graph.output.pop(1)
    onnx.save(model, path)
    record(copied, "fp32/stage_02.onnx")
    with pytest.raises(BundleError, match=r"stage_02\.onnx has no output `logits`"):
        open_session(copied, batches=1)


def test_rewritten_before_the_first_batch(open_session, copied):
    """Engines for batches are loaded later: never other ones than those that were checked."""
    session = open_session(copied)
    path = copied / "fp32/stage_01.onnx"
    contents = path.read_bytes()
    path.write_bytes(contents)
    os.utime(path, ns=(1, 1))
    with pytest.raises(BundleError, match=r"stage_01\.onnx was written to since this model was loaded"):
        session.run(ROWS)
    with pytest.raises(BundleError, match="Load the bundle again"):  # again, not only the first time
        session.run(ROWS)
    assert session.run(ROW).logits.shape == (1, 3)


def test_embeddings_rewritten(open_session, copied):
    """A single row reads the table of the embeddings from the file."""
    session = open_session(copied)
    os.utime(copied / "fp32/embeddings.onnx", ns=(1, 1))
    with pytest.raises(BundleError, match=r"embeddings\.onnx was written to"):
        session.run(ROW)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_gone_before_the_first_batch(open_session, copied, family_bundle, how, threads):
    """The checked files are held open: a model stays one version, wherever its path leads."""
    expected = Classifier.load(copied, threads=1).run(ROWS, speed=0.3)
    session = open_session(copied, threads=threads)
    copied.rename(copied.with_name("away"))
    if how == "removed":
        shutil.rmtree(copied.with_name("away"))
    else:
        shutil.copytree(family_bundle("roberta"), copied)
    found = session.run(ROWS, speed=0.3)
    np.testing.assert_array_equal(found.exit_layer, expected.exit_layer)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
@pytest.mark.parametrize("threads", [1, 2])
def test_files_that_are_links(open_session, copied, tmp_path, link, threads):
    """As in a Hugging Face cache: ONNX Runtime does not read weights of another file through a link."""
    store = tmp_path / "store"
    store.mkdir()
    for number, path in enumerate(sorted(path for path in copied.rglob("*") if path.is_file())):
        path.rename(store / str(number))
        link(store / str(number), path)
    session, classifier = open_session(copied, threads=threads), Classifier.load(copied, threads=threads)
    for rows in (ROW, ROWS):
        found, expected = session.run(rows, speed=0.3), classifier.run(rows, speed=0.3)
        np.testing.assert_array_equal(found.logits, expected.logits)
        np.testing.assert_array_equal(found.exit_layer, expected.exit_layer)


def test_a_path_that_is_a_link(open_session, copied, tmp_path):
    (tmp_path / "current").symlink_to(copied)
    session = open_session(tmp_path / "current")
    (tmp_path / "current").unlink()
    assert session.run(ROWS).logits.shape == (2, 3)


def test_a_path_that_is_not_utf8(open_session, copied, libfastbert):
    """Any path that the system opens works; a message about it is UTF-8 all the same."""
    from ctypes import byref, c_void_p

    from fastbert.runtime.cpp.binding import ModelOptions

    model = c_void_p()
    assert libfastbert.fastbert_model_load(b"/no\xffwhere", byref(ModelOptions()), byref(model)) == 2
    assert libfastbert.fastbert_last_error().decode().startswith("/no\ufffdwhere is not a bundle")


def test_a_variant_of_an_unknown_engine_is_skipped(open_session, copied):
    def change(manifest):
        variants = manifest["variants"]
        manifest["variants"] = {"new": variants["fp32"] | {"engine": "later"}} | variants

    change_manifest(copied, change)
    assert open_session(copied).info.variant == b"fp32"
