"""Checks a caller's token ids and converts them to the arrays that an engine takes."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import Manifest

_INT64 = np.dtype(np.int64)


class Inputs(NamedTuple):
    """A batch as the engines take it: int64 [batch, sequence] each, padded on the right.

    :param single_row: one row without padding, which an engine may run in one call (`Engine.run_row`).
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    single_row: bool = False


def checked_inputs(
    manifest: Manifest,
    input_ids: ArrayLike,
    attention_mask: ArrayLike | None = None,
    token_type_ids: ArrayLike | None = None,
) -> Inputs:
    """Return the batch to run. A row alone loses the padding at its end; no rows become arrays of [0, 1].

    :param input_ids: integers [batch, sequence], padded on the right.
    :param attention_mask: [batch, sequence], 1 for tokens, 0 for padding; None: no padding.
    :param token_type_ids: [batch, sequence]; None: the bundle's ``default_token_type``.
    :raises UsageError: shapes disagree, an id is unknown, a sequence is too long, or a row has no token.
    """
    row = _single_row(manifest, input_ids, attention_mask, token_type_ids)
    if row is not None:
        return row
    ids = _array("input_ids", input_ids)
    if ids.size == 0 and ids.ndim <= 2 and len(ids) == 0:
        empty = np.zeros((0, 1), dtype=np.int64)
        return Inputs(empty, empty, empty)
    ids = _integers("input_ids", ids, ids.shape)
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise UsageError(f"`input_ids` has the shape {list(ids.shape)}; expected [batch, sequence].")
    if ids.shape[1] > manifest.max_positions:
        raise UsageError(
            f"`input_ids` has sequences of {ids.shape[1]} tokens; the model has {manifest.max_positions} positions. "
            "Cut the sequences."
        )
    mask = np.ones_like(ids) if attention_mask is None else _integers("attention_mask", attention_mask, ids.shape)
    if token_type_ids is None:
        token_type_ids = np.full_like(ids, manifest.default_token_type)
    types = _integers("token_type_ids", token_type_ids, ids.shape)
    _check_range("input_ids", ids, manifest.vocab_size)
    _check_range("attention_mask", mask, 2)
    _check_range("token_type_ids", types, manifest.type_vocab_size)
    if not mask[:, 0].all():
        row_number = int(np.flatnonzero(mask[:, 0] == 0)[0])
        raise UsageError(
            f"`attention_mask` hides the first token of row {row_number}, which exits classify from. Pad on the right."
        )
    if len(ids) == 1:
        [visible] = mask.tolist()
        length = visible.count(1)
        if 1 not in visible[length:]:
            return Inputs(ids[:, :length], mask[:, :length], types[:, :length], single_row=True)
    return Inputs(ids, mask, types)


def _single_row(manifest: Manifest, ids: Any, mask: Any, types: Any) -> Inputs | None:
    """Return the inputs if they are arrays of one valid row without padding, so that nothing needs converting.

    Hot path, with lists because numpy's functions cost more on a row: docs/performance.md#single-row.
    """
    if not type(ids) is type(mask) is type(types) is np.ndarray:
        return None
    if not ids.dtype is mask.dtype is types.dtype is _INT64:
        return None
    try:
        if len(ids) != 1:  # before a whole batch becomes lists
            return None
        [id_list], [mask_list], [type_list] = ids.tolist(), mask.tolist(), types.tolist()
        if (
            0 < len(id_list) == len(mask_list) == len(type_list) <= manifest.max_positions
            and mask_list.count(1) == len(mask_list)
            and min(id_list) >= 0
            and max(id_list) < manifest.vocab_size
            and (not any(type_list) or (min(type_list) >= 0 and max(type_list) < manifest.type_vocab_size))
        ):
            return Inputs(ids, mask, types, True)
    except (TypeError, ValueError):  # not two-dimensional
        pass
    return None


def _array(name: str, values: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"`{name}` is not an array: {error}. Give rows of equal length, padded on the right."
        ) from error


def _integers(name: str, array: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    values = _array(name, array)
    if values.dtype.kind not in "iub":
        raise UsageError(f"`{name}` holds {values.dtype}; expected integers.")
    if values.shape != shape:
        raise UsageError(f"`{name}` has the shape {list(values.shape)}; `input_ids` has {list(shape)}.")
    return np.ascontiguousarray(values, dtype=np.int64)


def _check_range(name: str, values: NDArray[np.int64], end: int) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= end:
        raise UsageError(f"`{name}` holds {low if low < 0 else high}; the model knows 0 to {end - 1}.")
