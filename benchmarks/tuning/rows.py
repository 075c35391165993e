"""The rows to tune on: read, split into those that decide and those that measure, and what is wrong with them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.tuning.targets import Target
from fastbert.data import Row, read_rows, read_texts
from fastbert.data.row_counts import count_rows, some_rows
from fastbert.export.golden import GOLDEN, read_golden
from fastbert.runtime.errors import BundleError, DataError, UsageError
from fastbert.runtime.manifest import Manifest, file_record
from fastbert.runtime.tokenization import TextInput

_MOST_REPEATED = 0.02  # share of rows
_MOST_GOLDEN = 0.1  # share of the golden rows: a few short texts are in many files
# Use of a data file in the manifest's `data` -> what it was used to do.
_USES = {
    "train": "train the model",
    "unlabeled": "distil its exits",
    "dev": "pick its best epoch",
    "verify": "calibrate and verify the bundle",
}


@dataclass(frozen=True)
class DataRows:
    """The rows of a file.

    :param labels: int64 [rows], class index; None: some rows have no label, or none was asked for.
    :param sha256: of the file.
    """

    path: Path
    rows: Sequence[Row]
    labels: NDArray[np.int64] | None
    sha256: str


def read_data(path: Path, manifest: Manifest, *, needs_labels: bool, ignore_labels: bool) -> DataRows:
    """Read a data file.

    :raises DataError: it is unreadable, a label is unknown, or a label is missing where it is needed.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"{path} is not a file; its rows are read more than once. Save them as a file.")
    rows = read_texts(path) if ignore_labels else _labelled(path, manifest, needs_labels=needs_labels)
    index = {label: number for number, label in enumerate(manifest.labels)}
    labels = None
    if not ignore_labels and all(row.label is not None for row in rows):
        labels = np.array([index[row.label or ""] for row in rows])
    return DataRows(path, rows, labels, file_record(path)["sha256"])


def _labelled(path: Path, manifest: Manifest, *, needs_labels: bool) -> Sequence[Row]:
    try:
        return read_rows(path, labels=manifest.labels, require_label=needs_labels, partly_labelled=not needs_labels)
    except DataError as error:
        try:
            read_texts(path)
        except DataError:
            raise error from None
        # only the labels are at fault
        if needs_labels:
            raise DataError(f"{error} A target that needs no labels: `min_agreement`.") from error
        raise DataError(f"{error} This target needs no labels: `ignore_labels` leaves them out.") from error


def split(count: int, *, needed: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Draw the rows that decide, and a third that only measures; without those, where too few would be left to decide.

    :param needed: rows that must decide.
    :returns: indices of the rows that decide, in random order, and of those that measure or None.
    """
    order = np.random.default_rng(seed).permutation(count)
    decide = count - count // 3
    return (order, None) if decide < needed or decide == count else (order[:decide], order[decide:])


def require_others(test: DataRows, data: DataRows) -> None:
    """Check that the rows to measure on are not the file to tune on.

    :raises UsageError: the files have the same content.
    """
    if test.sha256 == data.sha256:
        raise UsageError(
            f"`test` {test.path} has the same content as `data` {data.path}, so it cannot measure a choice that these "
            "rows make. Name other rows, or omit `test`: a third of `data` then measures."
        )


def shared_rows_warning(test: DataRows, data: DataRows) -> str | None:
    """Say that rows to measure on are also rows to tune on; None: no more than chance would have."""
    known = {row.text_input for row in data.rows}
    shared = sum(row.text_input in known for row in test.rows)
    if shared <= _MOST_REPEATED * len(test.rows):
        return None
    are = "is" if shared == 1 else "are"
    return (
        f"{some_rows(shared, len(test.rows), test.path)} {are} also in {data.path}, so they had a part in the choice, "
        "and the figures may be too good. Remove them."
    )


def few_rows_warning(deciding: int, target: Target) -> str | None:
    """Say that so few rows cannot show the loss that may be; None: they can, or a guarantee needs more anyway."""
    if target.confidence is not None or target.kind.most_loss is None or target.most_loss <= 0:
        return None
    enough = math.ceil(1 / target.most_loss - 1e-9)
    if deciding >= enough:
        return None
    return (
        f"Only {count_rows(deciding)} decided. With fewer than {enough}, losing a single one is more than asked "
        "for, so the speed that was found may lose more. Tune on more rows."
    )


def warnings_about(data: DataRows, bundle: Path, manifest: Manifest) -> list[str]:
    """Return why figures and guarantees from these rows may not hold for others."""
    found = []
    recorded: Any = manifest.raw.get("data")
    uses = recorded if isinstance(recorded, dict) else {}
    done = [words for use, words in _USES.items() if data.sha256 in _listed(uses.get(use))]
    texts = [row.text_input for row in data.rows]
    if done:
        found.append(
            f"{data.path} was used to {' and to '.join(done)}, so figures from these rows may be better than those of "
            "new ones. Tune on other rows."
        )
    elif shared := _golden_rows(texts, bundle):
        are = "is a golden row" if shared == 1 else "are golden rows"
        found.append(
            f"{some_rows(shared, len(texts), data.path)} {are} of the bundle, which it was calibrated and verified on. "
            "Tune on other rows, or remove these."
        )
    repeated = len(texts) - len(Counter(texts))
    if repeated > _MOST_REPEATED * len(texts):
        repeat = "repeats" if repeated == 1 else "repeat"
        found.append(
            f"{some_rows(repeated, len(texts), data.path)} {repeat} another one. A repeated row is no new evidence, "
            "and may both decide and measure: figures and guarantees hold only if texts repeat as often in production."
        )
    return found


def _listed(recorded: Any) -> list[Any]:
    """Return a record of the manifest that should be a list; it is informative, so it may be anything."""
    return recorded if isinstance(recorded, list) else []


def _golden_rows(texts: Sequence[TextInput], bundle: Path) -> int:
    """Return how many of the texts are golden rows; 0 if they are no more than chance would have."""
    try:
        golden = set(read_golden(bundle / GOLDEN).texts)
    except BundleError:  # tuning does not need them
        return 0
    shared = golden.intersection(texts)
    count = sum(text in golden for text in texts)
    return count if count > _MOST_REPEATED * len(texts) or len(shared) > _MOST_GOLDEN * len(golden) else 0
