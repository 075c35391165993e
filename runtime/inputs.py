"""Token ids from a caller: checked, and made the arrays that an engine takes."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import Manifest

__all__ = ["checked_inputs", "is_visible_row"]

_INT64 = np.dtype(np.int64)


def checked_inputs(
    manifest: Manifest,
    input_ids: ArrayLike,
    attention_mask: ArrayLike | None = None,
    token_type_ids: ArrayLike | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the three as int64 [batch, sequence]; no rows become int64 [0, 1].

    :param input_ids: integers [batch, sequence], padded on the right.
    :param attention_mask: [batch, sequence], 1 for tokens, 0 for padding; None: no padding.
    :param token_type_ids: [batch, sequence]; None: the bundle's ``default_token_type``.
    :raises UsageError: shapes disagree, an id is unknown, a sequence is too long, or a row has no token.
    """
    if is_visible_row(manifest, input_ids, attention_mask, token_type_ids):
        return input_ids, attention_mask, token_type_ids  # type: ignore[return-value]
    ids = _array("input_ids", input_ids)
    if ids.size == 0 and ids.ndim <= 2 and len(ids) == 0:
        empty = np.zeros((0, 1), dtype=np.int64)
        return empty, empty, empty
    ids = _integers("input_ids", ids, ids.shape)
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise UsageError(f"input_ids has the shape {list(ids.shape)}; expected [batch, sequence].")
    if ids.shape[1] > manifest.max_positions:
        raise UsageError(
            f"input_ids has sequences of {ids.shape[1]} tokens; the model has {manifest.max_positions} positions. "
            "Cut them."
        )
    mask = np.ones_like(ids) if attention_mask is None else _integers("attention_mask", attention_mask, ids.shape)
    if token_type_ids is None:
        token_type_ids = np.full_like(ids, manifest.default_token_type)
    types = _integers("token_type_ids", token_type_ids, ids.shape)
    _check_range("input_ids", ids, manifest.vocab_size)
    _check_range("attention_mask", mask, 2)
    _check_range("token_type_ids", types, manifest.type_vocab_size)
    if not mask[:, 0].all():
        row = int(np.flatnonzero(mask[:, 0] == 0)[0])
        raise UsageError(
            f"attention_mask row {row} hides the first token, from which exits classify; pad on the right."
        )
    return ids, mask, types


def is_visible_row(manifest: Manifest, ids: Any, mask: Any, types: Any) -> bool:
    """Return whether these are arrays of one row without padding, that need neither conversion nor error.

    By lists: the caches have lost the code of array operations by the next request, which takes 80 us longer with them.
    """
    if not type(ids) is type(mask) is type(types) is np.ndarray:
        return False
    if not ids.dtype is mask.dtype is types.dtype is _INT64:
        return False
    try:
        if len(ids) != 1:  # a batch would become lists
            return False
        [id_list], [mask_list], [type_list] = ids.tolist(), mask.tolist(), types.tolist()
        return (
            0 < len(id_list) == len(mask_list) == len(type_list) <= manifest.max_positions
            and mask_list.count(1) == len(mask_list)
            and min(id_list) >= 0
            and max(id_list) < manifest.vocab_size
            and min(type_list) >= 0
            and max(type_list) < manifest.type_vocab_size
        )
    except (TypeError, ValueError):  # of other dimensions
        return False


def _array(name: str, values: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{name} is no array: {error}. Give rows of equal length, padded on the right.") from error


def _integers(name: str, array: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    values = _array(name, array)
    if values.dtype.kind not in "iub":
        raise UsageError(f"{name} holds {values.dtype}; expected integers.")
    if values.shape != shape:
        raise UsageError(f"{name} has the shape {list(values.shape)}; input_ids has {list(shape)}.")
    return np.ascontiguousarray(values, dtype=np.int64)


def _check_range(name: str, values: NDArray[np.int64], end: int) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= end:
        raise UsageError(f"{name} holds {low if low < 0 else high}; the model knows 0 to {end - 1}.")
