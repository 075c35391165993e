"""``golden.npz``: real rows and PyTorch's float32 answers, kept in the bundle so that any runtime can be checked.

`docs/bundle-format.md` lists its arrays. Texts are JSON because a NumPy array of strings gives every row the room of
the longest and drops NULs at the end of a text.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.data.rows import Row
from fastbert.runtime.errors import BundleError, DataError
from fastbert.runtime.exit_rule import exit_positions
from fastbert.runtime.tokenization import TextInput

GOLDEN = "golden.npz"
SPEEDS = (0.1, 0.3, 0.5, 0.8)
CHECKED_SPEEDS = (0.0, *SPEEDS)  # full depth first
CALIBRATION_ROWS = 128  # the first rows: those that int8 is calibrated on


@dataclass(frozen=True)
class Golden:
    """Rows and the answers that engines must give.

    :param texts: the rows as `fastbert.runtime.Classifier.predict` takes them.
    :param input_ids: int64 [rows, sequence], padded on the right, as are ``attention_mask`` and ``token_type_ids``.
    :param logits: float32 [rows, exits, classes], of the bundle's exits.
    :param uncertainty: float32 [rows, exits].
    :param labels: int64 [rows], index of the right class; -1: unknown.
    """

    texts: tuple[TextInput, ...]
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

        :param exits: 0-based layers.
        :param class_names: by class index; any other label counts as unknown.
        """
        index = {name: number for number, name in enumerate(class_names)}
        return cls(
            texts=tuple(row.text_input for row in rows),
            input_ids=reference.input_ids,
            attention_mask=reference.attention_mask,
            token_type_ids=reference.token_type_ids,
            logits=reference.logits[:, list(exits)],
            uncertainty=reference.uncertainty[:, list(exits)],
            labels=np.array([index.get(row.label or "", -1) for row in rows], dtype=np.int64),
        )

    def select(self, rows: NDArray[np.bool_]) -> "Golden":
        """Return the rows that are true in ``rows``, bool [rows]."""
        texts = tuple(text for text, kept in zip(self.texts, rows, strict=True) if kept)
        return Golden(texts, **{name: getattr(self, name)[rows] for name in _ARRAYS})


# name -> dtype and dimensions; the first one counts rows
_ARRAYS: dict[str, tuple[str, int]] = {
    "input_ids": ("int64", 2),
    "attention_mask": ("int64", 2),
    "token_type_ids": ("int64", 2),
    "logits": ("float32", 3),
    "uncertainty": ("float32", 2),
    "labels": ("int64", 1),
}


def write_golden(path: Path, golden: Golden, exits: Sequence[int]) -> None:
    """Write the file, with the layer that answers each row at each of `SPEEDS`.

    :param exits: 0-based layer of each exit.
    :raises DataError: a text contains an unpaired surrogate.
    """
    layers = np.asarray(exits)
    arrays: dict[str, Any] = {name: getattr(golden, name) for name in _ARRAYS}
    arrays |= {f"exit_layer@{speed}": layers[exit_positions(golden.uncertainty, speed)] for speed in SPEEDS}
    np.savez_compressed(path, texts_json=_packed_texts(golden.texts), **arrays)


def read_golden(path: Path) -> Golden:
    """Read the file.

    :raises BundleError: it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            texts = _unpacked_texts(file["texts_json"]) if "texts_json" in file else _texts_of_arrays(file)
            arrays: dict[str, Any] = {name: file[name] for name in _ARRAYS if name != "labels" or name in file}
            golden = Golden(texts, **{"labels": np.full(len(texts), -1, dtype=np.int64), **arrays})
        _check_shapes(golden)
    except Exception as error:  # zipfile, zlib, numpy and the system raise different ones
        raise BundleError(f"{path} is missing or damaged: {error}. Export the bundle again.") from error
    return golden


def _packed_texts(texts: Sequence[TextInput]) -> NDArray[np.uint8]:
    rows = [[text, None] if isinstance(text, str) else list(text) for text in texts]
    try:
        return np.frombuffer(json.dumps(rows, ensure_ascii=False).encode(), dtype=np.uint8)
    except UnicodeEncodeError as error:
        raise DataError(f"A row to verify on has an unpaired surrogate: {error}. Correct the text.") from error


def _unpacked_texts(packed: NDArray[np.uint8]) -> tuple[TextInput, ...]:
    texts: list[TextInput] = []
    for row in json.loads(packed.tobytes().decode()):
        match row:
            case [str(text), None]:
                texts.append(text)
            case [str(text), str(pair)]:
                texts.append((text, pair))
            case _:
                raise ValueError(f"texts_json has {row!r:.80}; expected [text, text_pair]")
    return tuple(texts)


def _texts_of_arrays(file: Any) -> tuple[TextInput, ...]:
    """Read the texts of a bundle that was exported before there was ``texts_json``."""
    columns = zip(*(file[name].tolist() for name in ("texts", "text_pairs", "has_pair")), strict=True)
    return tuple((text, pair) if paired else text for text, pair, paired in columns)


def _check_shapes(golden: Golden) -> None:
    if not golden.texts:
        raise ValueError("it has no rows")
    for name, (dtype, dimensions) in _ARRAYS.items():
        array = getattr(golden, name)
        if array.dtype != dtype or array.ndim != dimensions or len(array) != len(golden.texts):
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)} for {len(golden.texts)} texts")
    for name, like in (("attention_mask", "input_ids"), ("token_type_ids", "input_ids"), ("uncertainty", "logits")):
        shape, expected = getattr(golden, name).shape, getattr(golden, like).shape[:2]
        if shape != expected:
            raise ValueError(f"{name} has the shape {list(shape)}; expected {list(expected)}, as {like} has")
