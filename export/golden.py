"""``golden.npz``: real rows and PyTorch's float32 answers, kept in the bundle so that any runtime can be checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.evaluation import exit_positions
from fastbert.rows import Row
from fastbert.runtime.errors import BundleError

__all__ = ["GOLDEN", "SPEEDS", "Golden", "read_golden", "write_golden"]

GOLDEN = "golden.npz"
SPEEDS = (0.1, 0.3, 0.5, 0.8)


@dataclass(frozen=True)
class Golden:
    """Rows and the answers that engines must give.

    :param texts: str [rows]; ``text_pairs`` likewise, and ``has_pair`` bool [rows] says where one is meant.
    :param input_ids: int64 [rows, sequence], padded on the right; ``attention_mask``, ``token_type_ids`` likewise.
    :param logits: float32 [rows, exits, classes] of the exits that the bundle has.
    :param uncertainty: float32 [rows, exits].
    :param labels: int64 [rows], the right class's index; -1: not known.
    """

    texts: NDArray[np.str_]
    text_pairs: NDArray[np.str_]
    has_pair: NDArray[np.bool_]
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    logits: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    labels: NDArray[np.int64]

    @classmethod
    def from_reference(
        cls, rows: Sequence[Row], reference: Any, exits: Sequence[int], class_names: Sequence[str]
    ) -> "Golden":
        """Take the bundle's exits from a `fastbert.reference.Reference` on these rows.

        :param class_names: by class index; a label that is none of them counts as not known.
        """
        index = {name: number for number, name in enumerate(class_names)}
        return cls(
            texts=np.array([row.text for row in rows]),
            text_pairs=np.array([row.text_pair or "" for row in rows]),
            has_pair=np.array([row.text_pair is not None for row in rows]),
            input_ids=reference.input_ids,
            attention_mask=reference.attention_mask,
            token_type_ids=reference.token_type_ids,
            logits=reference.logits[:, list(exits)],
            uncertainty=reference.uncertainty[:, list(exits)],
            labels=np.array([index.get(row.label or "", -1) for row in rows], dtype=np.int64),
        )

    @property
    def inputs(self) -> list[str | tuple[str, str]]:
        """The rows as `fastbert.runtime.Classifier.predict` takes them."""
        columns = zip(self.texts.tolist(), self.text_pairs.tolist(), self.has_pair.tolist(), strict=True)
        return [(text, pair) if paired else text for text, pair, paired in columns]


def write_golden(path: Path, golden: Golden, exits: Sequence[int]) -> None:
    """Write the file; it also holds ``exit_layer@SPEED``, int64 [rows], for each of `SPEEDS`."""
    layers = np.asarray(exits)
    chosen: dict[str, Any] = {
        f"exit_layer@{speed}": layers[exit_positions(golden.uncertainty, speed)] for speed in SPEEDS
    }
    np.savez_compressed(path, **{**vars(golden), **chosen})


def read_golden(path: Path) -> Golden:
    """Read the file.

    :raises BundleError: it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            known = {name: file[name] for name in Golden.__dataclass_fields__ if name != "labels" or name in file}
            # bundles made before golden rows kept their labels: none is known
            return Golden(**{"labels": np.full(len(known["input_ids"]), -1, dtype=np.int64), **known})
    except Exception as error:  # zipfile, zlib, numpy and the system each have their own
        raise BundleError(f"{path} is missing or damaged: {error}. Export the bundle again.") from error
