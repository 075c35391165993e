import json
import shutil

import numpy as np
import pytest

from fastbert.data.rows import Row
from fastbert.export import ExportOptions, export_bundle, verify
from fastbert.export.golden import SPEEDS, Golden, read_golden, write_golden
from fastbert.runtime.errors import BundleError, DataError
from fastbert.runtime.manifest import file_record

TEXTS = (
    "so good", "", "bad \0", "\0", "\0\0a\0", (" a ", ""), ("a\0", "b\0"), ("", ""), "[\"a\", null]", "line\nend\r\n",
    "\u2028", "\ufeffmark", "😀 é ü 中文", "\\u0000 \\", "\x7f\x1b[0m", " trailing  ",
)  # fmt: skip


def make_golden(texts=TEXTS):
    count = len(texts)
    ids = np.arange(count * 4).reshape(count, 4)
    draw = np.random.default_rng(0)
    return Golden(
        texts=tuple(texts),
        input_ids=ids,
        attention_mask=np.ones_like(ids),
        token_type_ids=np.zeros_like(ids),
        logits=draw.normal(size=(count, 3, 2)).astype(np.float32),
        uncertainty=draw.uniform(size=(count, 3)).astype(np.float32),
        labels=np.arange(count) - 1,
    )


def arrays_of(golden):
    """Return the arrays of a file, to write others by hand."""
    return {name: value for name, value in vars(golden).items() if name != "texts"}


def test_every_text_is_read_as_it_was_written(tmp_path):
    golden = make_golden()
    write_golden(tmp_path / "golden.npz", golden, [0, 1, 5])
    found = read_golden(tmp_path / "golden.npz")
    assert found.texts == TEXTS
    for name, array in arrays_of(golden).items():
        np.testing.assert_array_equal(getattr(found, name), array)
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as file:
        layers = {speed: file[f"exit_layer@{speed}"] for speed in SPEEDS}
        assert file["texts_json"].dtype == np.uint8
        rows = json.loads(file["texts_json"].tobytes())
    assert rows[4:7] == [["\0\0a\0", None], [" a ", ""], ["a\0", "b\0"]]
    assert all(set(exits.tolist()) <= {0, 1, 5} for exits in layers.values())


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_golden(tmp_path / f"{name}.npz", make_golden(), [0, 1, 2])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_long_text_does_not_enlarge_the_others(tmp_path):
    golden = make_golden(["a"] * 255 + ["x" * 1_000_000])
    write_golden(tmp_path / "golden.npz", golden, [0, 1, 2])
    with np.load(tmp_path / "golden.npz") as file:
        assert sum(file[name].nbytes for name in file) < 1_100_000
    assert read_golden(tmp_path / "golden.npz").texts == golden.texts


def test_an_unpaired_surrogate_is_refused(tmp_path):
    with pytest.raises(DataError, match="unpaired surrogate"):
        write_golden(tmp_path / "golden.npz", make_golden(["a", "\ud800"]), [0, 1, 2])


def old_file(path, golden, *, labels=True):
    """Write a file as versions before texts_json did."""
    pairs = [text if isinstance(text, tuple) else (text, None) for text in golden.texts]
    arrays = {name: array for name, array in arrays_of(golden).items() if labels or name != "labels"}
    np.savez_compressed(
        path,
        texts=np.array([text for text, _ in pairs]),
        text_pairs=np.array([pair or "" for _, pair in pairs]),
        has_pair=np.array([pair is not None for _, pair in pairs]),
        **arrays,
    )


@pytest.mark.parametrize("labels", [True, False])
def test_files_of_earlier_versions_are_read(tmp_path, labels):
    golden = make_golden(["so good", ("a", ""), ("a", "b"), "", "中文"])
    old_file(tmp_path / "golden.npz", golden, labels=labels)
    found = read_golden(tmp_path / "golden.npz")
    assert found.texts == golden.texts
    assert found.labels.tolist() == (golden.labels.tolist() if labels else [-1] * 5)


def test_a_bundle_of_an_earlier_version_is_verified(bundle, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    old_file(copy / "golden.npz", read_golden(bundle / "golden.npz"), labels=False)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["golden.npz"] = file_record(copy / "golden.npz")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    [found] = verify(copy)
    assert (found.problems, found.rows) == ([], 40)


def test_some_rows_of_a_file():
    golden = make_golden()
    some = golden.select(np.arange(len(TEXTS)) % 2 == 1)
    assert some.texts == TEXTS[1::2]
    assert all(np.array_equal(getattr(some, name), array[1::2]) for name, array in arrays_of(golden).items())


def as_json(document):
    return np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        {"texts_json": as_json([["a", None]])},
        {"texts_json": as_json([["a", None], ["b", 1]])},
        {"texts_json": as_json([["a", None], [None, "b"]])},
        {"texts_json": as_json([["a", None], ["b"]])},
        {"texts_json": as_json([["a", None], "b"])},
        {"texts_json": as_json([["a", None], "bc"])},
        {"texts_json": as_json({"a": None})},
        {"texts_json": as_json(None)},
        {"texts_json": np.frombuffer(b"[", dtype=np.uint8)},
        {"texts_json": np.frombuffer(b"\xff", dtype=np.uint8)},
        {"texts_json": np.frombuffer(b"[" * 100_000, dtype=np.uint8)},
        {"texts_json": np.array([], dtype=np.uint8)},
        {"texts_json": np.array(["a", "b"])},
        {"texts_json": np.array([["a", None], ["b", None]], dtype=object)},
        {"input_ids": np.zeros((3, 4), dtype=np.int64)},
        {"input_ids": np.zeros((2, 4), dtype=np.float64)},
        {"attention_mask": np.ones((2, 5), dtype=np.int64)},
        {"logits": np.zeros((2, 3), dtype=np.float32)},
        {"uncertainty": np.zeros((2, 2), dtype=np.float32)},
        {"labels": np.zeros((), dtype=np.int64)},
        {"labels": None},
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change):
    golden = make_golden(["a", "b"])
    arrays = {"texts_json": as_json([["a", None], ["b", None]]), **arrays_of(golden)}
    np.savez(tmp_path / "golden.npz", **arrays)
    assert read_golden(tmp_path / "golden.npz").texts == ("a", "b")
    np.savez(tmp_path / "golden.npz", **{**arrays, **change})
    with pytest.raises(BundleError, match=r"golden\.npz is missing or damaged"):
        read_golden(tmp_path / "golden.npz")


def test_a_file_without_rows_without_an_array_or_of_another_format_is_refused(tmp_path):
    path = tmp_path / "golden.npz"
    empty = make_golden(["a"]).select(np.array([False]))
    np.savez(path, texts_json=as_json([]), **arrays_of(empty))
    with pytest.raises(BundleError, match="it has no rows"):
        read_golden(path)
    np.savez(path, texts_json=as_json([["a", None]]))
    with pytest.raises(BundleError, match="input_ids"):
        read_golden(path)
    for content in (b"", b"PK", b"not a zip"):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="missing or damaged"):
            read_golden(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BundleError, match="missing or damaged"):
        read_golden(path)


def test_a_text_that_ends_in_nul_is_exported_and_verified(checkpoint, tmp_path):
    rows = [Row("so good"), Row("bad \0"), Row("fine film", "not\0")]
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(verify_data=rows))
    assert read_golden(tmp_path / "b" / "golden.npz").texts == ("so good", "bad \0", ("fine film", "not\0"))
    assert [found.problems for found in verify(tmp_path / "b")] == [[]]
