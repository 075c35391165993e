"""Token ids from a caller."""

import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbert.runtime import UsageError
from fastbert.runtime.inputs import checked_inputs

_MANIFEST: Any = SimpleNamespace(vocab_size=20, type_vocab_size=2, max_positions=6, default_token_type=0)


def _outcome(*inputs: Any) -> Any:
    try:
        ids, mask, types, single_row = checked_inputs(_MANIFEST, *inputs)
        return ids.tolist(), mask.tolist(), types.tolist(), single_row
    except UsageError as error:
        return str(error)


@settings(max_examples=300)
@given(st.data())
def test_a_row_of_arrays_is_checked_as_the_same_row_of_lists(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 7))
    ends = (20, 2, 2)
    rows = [data.draw(st.lists(st.integers(0, end - 1), min_size=width, max_size=width)) for end in ends]
    if data.draw(st.booleans()):
        rows[1] = [1] * width
    rows[1][0] = data.draw(st.sampled_from([1, 1, 1, 0]))
    if data.draw(st.booleans()):
        row = data.draw(st.integers(0, 2))
        rows[row][data.draw(st.integers(0, width - 1))] = data.draw(st.sampled_from([-1, ends[row]]))
    lists = [[row] for row in rows]
    assert _outcome(*(np.array(row) for row in lists)) == _outcome(*lists)


_GOOD = np.array([[1, 1, 1]])


def test_a_single_row_of_arrays_is_not_copied() -> None:
    row = np.array([[3, 4, 0]]), np.array([[1, 1, 1]]), np.array([[0, 1, 0]])
    inputs = checked_inputs(_MANIFEST, *row)
    assert inputs.single_row
    for array, taken in zip(row, inputs[:3], strict=True):
        assert taken is array


@pytest.mark.parametrize("mask", [[1, 1, 1], [1, 1, 0], [1, 0, 0]])
@pytest.mark.parametrize("convert", [list, lambda row: np.array(row, np.int32), np.array])
def test_a_row_alone_loses_its_padding(mask: list[int], convert: Any) -> None:
    inputs = checked_inputs(_MANIFEST, convert([[3, 4, 5]]), convert([mask]), convert([[0, 1, 1]]))
    length = sum(mask)
    assert [array.tolist() for array in inputs[:3]] == [[[3, 4, 5][:length]], [[1] * length], [[0, 1, 1][:length]]]
    assert inputs.single_row


def test_a_row_with_a_hidden_token_and_a_batch_are_not_single_rows() -> None:
    assert not checked_inputs(_MANIFEST, _GOOD, np.array([[1, 0, 1]]), _GOOD).single_row
    for batch in (np.ones((2, 3), np.int64), np.ones((0, 3), np.int64)):
        assert not checked_inputs(_MANIFEST, batch, batch, batch).single_row


@pytest.mark.parametrize(
    ("place", "array"),
    [
        (0, np.array([[1, 1]])),
        (0, np.array([[1, 20, 1]])),
        (0, np.array([[1, -1, 1]])),
        (0, np.array([1, 1, 1])),
        (0, np.array(1)),
        (0, np.array([[[1], [1], [1]]])),
        (1, np.array([[1, 1, 2]])),
        (1, np.array([[1, 1, 1], [1, 1, 1]])),
        (2, np.array([[1, 1, 2]])),
        (2, np.array([[1, 1, -1]])),
        (2, np.array([[1.0, 1.0, 1.0]])),
    ],
)
def test_one_wrong_array_of_a_row_is_refused(place: int, array: Any) -> None:
    row: list[Any] = [_GOOD] * 3
    row[place] = array
    with pytest.raises(UsageError):
        checked_inputs(_MANIFEST, *row)


class _Tensor:
    """An array of another library, whose dtype is NumPy's."""

    dtype, shape, ndim = np.dtype(np.int64), (1, 3), 2

    def tolist(self) -> Any:
        return [[1, 1, 1]]

    def __len__(self) -> int:
        return 1

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.tolist(), dtype)


def test_arrays_of_another_library_are_converted() -> None:
    row: list[Any] = [_Tensor()] * 3
    assert all(type(array) is np.ndarray for array in checked_inputs(_MANIFEST, *row)[:3])


def test_a_batch_does_not_become_lists() -> None:
    batch = np.ones((1000, 6), np.int64)
    tracemalloc.start()
    checked_inputs(_MANIFEST, batch, batch, batch)
    assert tracemalloc.get_traced_memory()[1] < 100_000  # lists of this batch take 500 kB
    tracemalloc.stop()


def test_rows_of_unequal_length_are_refused() -> None:
    assert "`input_ids` is not an array" in _outcome([[1, 2], [1]])
    assert "`attention_mask` is not an array" in _outcome([[1, 2], [1, 2]], [[1, 1], [1]])


@pytest.mark.parametrize(("width", "message"), [(0, "expected [batch, sequence]"), (7, "has 6 positions")])
def test_a_row_without_a_token_or_with_too_many_is_refused(width: int, message: str) -> None:
    assert message in _outcome(*[np.ones((1, width), np.int64)] * 3)


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.bool_])
def test_other_integers_become_int64(dtype: Any) -> None:
    row = np.array([[1, 1, 0]], dtype=dtype)
    for array in checked_inputs(_MANIFEST, row, row, row)[:3]:
        assert array.dtype == np.int64
        assert array.tolist() == [[1, 1]]  # the last one is padding


def test_rows_of_different_shapes_are_refused() -> None:
    assert "`attention_mask` has the shape [1, 2]; `input_ids` has [1, 3]" in _outcome(
        np.array([[3, 4, 5]]), np.array([[1, 1]]), np.array([[0, 0, 0]])
    )
