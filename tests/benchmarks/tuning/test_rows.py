import json
import os
from dataclasses import replace

import numpy as np
import pytest
from support.factories import LABELS, make_rows, write_tsv

from fastbert.benchmarks.tuning.rows import (
    few_rows_warning,
    read_data,
    require_others,
    shared_rows_warning,
    split,
    warnings_about,
)
from fastbert.benchmarks.tuning.targets import TARGETS, Target
from fastbert.export.golden import GOLDEN, read_golden
from fastbert.runtime.errors import DataError, UsageError
from fastbert.runtime.manifest import MANIFEST, file_record, read_manifest


def read(path, bundle, *, needs_labels=False, ignore_labels=False):
    return read_data(path, read_manifest(bundle), needs_labels=needs_labels, ignore_labels=ignore_labels)


def test_labels_are_read_where_all_rows_have_one(bundle, data, unlabelled, tmp_path):
    found = read(data, bundle, needs_labels=True)
    assert [LABELS[label] for label in found.labels] == [row.label for row in make_rows(400, seed=11)]
    assert found.sha256 == file_record(data)["sha256"]
    assert read(unlabelled, bundle).labels is None
    assert read(data, bundle, ignore_labels=True).labels is None
    (tmp_path / "part.jsonl").write_text('{"text": "a", "label": "neutral"}\n{"text": "b"}\n')
    assert read(tmp_path / "part.jsonl", bundle).labels is None


def test_bad_data_files(bundle, unlabelled, tmp_path):
    with pytest.raises(DataError, match=r"the label is missing.*\. A target that needs no labels: `min_agreement`\.$"):
        read(unlabelled, bundle, needs_labels=True)
    (tmp_path / "other.tsv").write_text("label\ttext\nangry\tgood\n")
    with pytest.raises(DataError, match=r"'angry' is not among .*\. This target needs no labels: `ignore_labels`"):
        read(tmp_path / "other.tsv", bundle)
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(DataError) as raised:
        read(tmp_path / "broken.jsonl", bundle)
    assert "label" not in str(raised.value)
    assert len(read(tmp_path / "other.tsv", bundle, ignore_labels=True).rows) == 1
    os.mkfifo(tmp_path / "pipe.tsv")
    with pytest.raises(DataError, match="is not a file"):
        read(tmp_path / "pipe.tsv", bundle)


def test_a_third_measures_and_the_others_decide():
    decide, measure = split(10, needed=1, seed=0)
    assert (len(decide), len(measure)) == (7, 3)
    assert sorted([*decide, *measure]) == list(range(10))
    assert decide.tolist() != sorted(decide)  # in random order: files are often sorted by class
    assert np.array_equal(split(10, needed=1, seed=0)[0], decide)
    assert not np.array_equal(split(10, needed=1, seed=1)[0], decide)


@pytest.mark.parametrize(("count", "needed"), [(10, 8), (10, 10), (2, 1), (1, 1)])
def test_where_too_few_would_decide_all_do(count, needed):
    decide, measure = split(count, needed=needed, seed=0)
    assert measure is None
    assert sorted(decide) == list(range(count))


def test_a_new_file_has_no_warnings(bundle, tmp_path):
    rows = [row for row in make_rows(60, seed=77) if len(row.text) > 20]
    path = write_tsv(tmp_path / "new.tsv", rows)
    assert warnings_about(read(path, bundle), bundle, read_manifest(bundle)) == []


@pytest.mark.parametrize(
    ("uses", "words"),
    [
        (["train"], "was used to train the model, so"),
        (["unlabeled", "dev"], "was used to distil its exits and to pick its best epoch, so"),
        (["verify"], "was used to calibrate and verify the bundle, so"),
    ],
)
def test_a_file_that_the_bundle_knows_is_named(bundle_copy, data, uses, words):
    document = json.loads((bundle_copy / MANIFEST).read_text())
    document["data"] = {use: ["0" * 64, file_record(data)["sha256"]] for use in uses}
    (bundle_copy / MANIFEST).write_text(json.dumps(document))
    warning = warnings_about(read(data, bundle_copy), bundle_copy, read_manifest(bundle_copy))[0]
    assert words in warning
    assert warning.startswith(str(data))


@pytest.mark.parametrize("record", [5, {"train": 5}, {"train": None}, ["train"]])
def test_a_record_of_files_that_is_none_is_no_warning(bundle, data, record):
    manifest = read_manifest(bundle)
    changed = replace(manifest, raw={**manifest.raw, "data": record})
    assert not any("was used to" in warning for warning in warnings_about(read(data, bundle), bundle, changed))


def test_golden_rows_are_counted(bundle, tmp_path):
    texts = [text for text in read_golden(bundle / GOLDEN).texts if text][:5]
    path = tmp_path / "d.tsv"
    path.write_text("\n".join(["text", *texts, *(f"new {number} row" for number in range(200))]) + "\n")
    (warning,) = warnings_about(read(path, bundle), bundle, read_manifest(bundle))
    assert warning.startswith(f"{len(texts)} of the 205 rows of {path} are golden rows of the bundle, ")
    one = tmp_path / "one.tsv"
    one.write_text(f"text\n{texts[0]}\n")
    (warning,) = warnings_about(read(one, bundle), bundle, read_manifest(bundle))
    assert warning.startswith(f"The only row of {one} is a golden row of the bundle, ")
    one.write_text(f"text\n{texts[0]}\n{texts[1]}\n")
    (warning,) = warnings_about(read(one, bundle), bundle, read_manifest(bundle))
    assert warning.startswith(f"All 2 rows of {one} are golden rows of the bundle, ")
    path.write_text("\n".join(["text", texts[0], *(f"new {number} row" for number in range(200))]) + "\n")
    assert warnings_about(read(path, bundle), bundle, read_manifest(bundle)) == []  # by chance


def test_repeated_rows_are_counted(bundle_copy, tmp_path):
    (bundle_copy / GOLDEN).unlink()  # tuning does not need it
    path = tmp_path / "d.tsv"
    path.write_text("text\n" + "the same\n" * 30 + "".join(f"another {number}\n" for number in range(70)))
    (warning,) = warnings_about(read(path, bundle_copy), bundle_copy, read_manifest(bundle_copy))
    assert warning.startswith(f"29 of the 100 rows of {path} repeat another one")


def test_rows_to_measure_on_are_others(bundle, data, tmp_path):
    deciding = read(data, bundle)
    same = tmp_path / "copy.tsv"
    same.write_bytes(data.read_bytes())
    with pytest.raises(UsageError, match=r"`test` .*copy\.tsv has the same content as `data`"):
        require_others(read(same, bundle), deciding)
    texts = [row.text for row in deciding.rows[:10]] + [f"new {number} row" for number in range(90)]
    mixed = tmp_path / "mixed.tsv"
    mixed.write_text("\n".join(["text", *texts]) + "\n")
    require_others(read(mixed, bundle), deciding)
    assert f"10 of the 100 rows of {mixed} are also in {data}" in shared_rows_warning(read(mixed, bundle), deciding)
    mixed.write_text("\n".join(["text", *texts[9:]]) + "\n")
    assert shared_rows_warning(read(mixed, bundle), deciding) is None  # by chance


@pytest.mark.parametrize(("name", "value"), [("max_drop", 0.5), ("min_agreement", 0.995)])
def test_rows_that_cannot_show_the_loss_are_too_few(name, value):
    target = Target(TARGETS[name], value)
    assert few_rows_warning(199, target).startswith("Only 199 rows decided. With fewer than 200, losing a single one")
    assert few_rows_warning(1, target).startswith("Only 1 row decided.")
    assert few_rows_warning(200, target) is None
    assert few_rows_warning(1, Target(TARGETS[name], value, 0.95)) is None  # refused before
    assert few_rows_warning(1, Target(TARGETS["speedup"], 2)) is None
    assert few_rows_warning(1, Target(TARGETS["max_drop"], 0)) is None
