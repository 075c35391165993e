"""The rows that are timed, in a seeded order."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.latency import samples_needed
from fastbert.data import read_rows
from fastbert.runtime import Classifier
from fastbert.runtime.errors import DataError
from fastbert.runtime.tokenization import TextInput

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workload:
    """Rows in the order in which they are timed.

    :param inputs: input_ids, attention_mask and token_type_ids of each row, int64 [1, tokens].
    :param available: rows in the file.
    :param labels: int64 [rows], class index of each row; None: some rows have no label.
    :param lengths: int64 [rows], tokens of each, special tokens included.
    :param truncated: rows that were cut to the bundle's ``max_length``.
    """

    texts: Sequence[TextInput]
    inputs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]
    available: int
    labels: NDArray[np.int64] | None
    lengths: NDArray[np.int64]
    truncated: int

    def __len__(self) -> int:
        return len(self.texts)


def read_workload(
    data: Path, classifier: Classifier, *, max_rows: int, seed: int, percentiles: Sequence[float] | None
) -> Workload:
    """Draw rows from a file.

    :param percentiles: those that the report must have.
    :raises DataError: the file is unreadable, has labels that the bundle does not know, or has too few rows for a
        requested percentile.
    """
    rows = read_rows(data, labels=classifier.labels, partly_labelled=True)
    chosen = random.Random(seed).sample(rows, min(len(rows), max_rows))
    for percentile in sorted(map(int, percentiles or ()), reverse=True):
        needed = samples_needed(percentile)
        if len(chosen) < needed:
            remedy = f"raise `max_rows` above {max_rows}" if len(rows) >= needed else "use a file with more rows"
            raise DataError(
                f"`percentiles` has {percentile}, which needs {needed} rows; {len(chosen)} of the {len(rows)} rows of "
                f"{data} are timed. Request a lower percentile, or {remedy}."
            )
    texts = [row.text_input for row in chosen]
    encoded = [classifier.encode([text]) for text in texts]
    index = {label: number for number, label in enumerate(classifier.labels)}
    without = sum(row.label is None for row in chosen)
    if 0 < without < len(chosen):
        _log.warning("%s: %d of %d rows have no label, so accuracy is not shown.", data, without, len(chosen))
    return Workload(
        texts=texts,
        inputs=[(batch.input_ids, batch.attention_mask, batch.token_type_ids) for batch in encoded],
        available=len(rows),
        labels=np.array([index[row.label or ""] for row in chosen]) if not without else None,
        lengths=np.array([int(batch.attention_mask.sum()) for batch in encoded]),
        truncated=sum(bool(batch.truncated[0]) for batch in encoded),
    )
