"""The rows to tune on: read, split into those that decide and those that measure, and what is wrong with them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.data import Row, read_rows, read_texts
from fastbert.export.golden import GOLDEN, read_golden
from fastbert.runtime.errors import BundleError, DataError
from fastbert.runtime.manifest import Manifest, file_record

_MOST_REPEATED = 0.02  # share of rows
_MOST_GOLDEN = 0.1  # share of the golden rows: a few short texts are in many files
# Use of a data file in the manifest's `data` -> what was done with it.
_USES = {
    "train": "trained on",
    "unlabeled": "distilled on",
    "dev": "its best epoch picked on",
    "verify": "calibrated and verified on",
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
    if ignore_labels:
        rows = read_texts(path)
    else:
        rows = read_rows(path, labels=manifest.labels, require_label=needs_labels, partly_labelled=not needs_labels)
    index = {label: number for number, label in enumerate(manifest.labels)}
    labels = None
    if not ignore_labels and all(row.label is not None for row in rows):
        labels = np.array([index[row.label or ""] for row in rows])
    return DataRows(path, rows, labels, file_record(path)["sha256"])


def split(count: int, *, needed: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Draw the rows that decide, and a third that only measures; without those, where too few would be left to decide.

    :param needed: rows that must decide.
    :returns: indices of the rows that decide, in random order, and of those that measure or None.
    """
    order = np.random.default_rng(seed).permutation(count)
    decide = count - count // 3
    return (order, None) if decide < needed or decide == count else (order[:decide], order[decide:])


def warnings_about(data: DataRows, bundle: Path, manifest: Manifest) -> list[str]:
    """Return why figures and guarantees from these rows may not hold for others."""
    found = []
    recorded: Any = manifest.raw.get("data")
    uses = recorded if isinstance(recorded, dict) else {}
    done = [words for use, words in _USES.items() if data.sha256 in (uses.get(use) or ())]
    texts = [row.text_input for row in data.rows]
    if done:
        found.append(
            f"{data.path} is a file that the model was {' and '.join(done)}, so it answers these rows better than new "
            "ones. Tune on other rows."
        )
    elif shared := _golden_rows(texts, bundle):
        found.append(
            f"{shared} of the {len(texts)} rows of {data.path} are golden rows of the bundle, which it was calibrated "
            "and verified on. Tune on other rows, or remove these."
        )
    repeated = len(texts) - len(Counter(texts))
    if repeated > _MOST_REPEATED * len(texts):
        found.append(
            f"{repeated} of the {len(texts)} rows of {data.path} repeat another one. A repeated row is no new "
            "evidence: intervals and guarantees hold only if texts repeat as often in production."
        )
    return found


def _golden_rows(texts: Sequence[Any], bundle: Path) -> int:
    """Return how many of the texts are golden rows; 0 if they are no more than chance would have."""
    try:
        golden = set(read_golden(bundle / GOLDEN).texts)
    except BundleError:  # tuning does not need them
        return 0
    shared = golden.intersection(texts)
    count = sum(text in golden for text in texts)
    return count if count > _MOST_REPEATED * len(texts) or len(shared) > _MOST_GOLDEN * len(golden) else 0
