"""Token ids from a caller."""

import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbert.runtime import UsageError
from fastbert.runtime.inputs import checked_inputs, is_visible_row

_MANIFEST: Any = SimpleNamespace(vocab_size=20, type_vocab_size=2, max_positions=6, default_token_type=0)


def _outcome(*inputs: Any) -> Any:
    try:
        return [array.tolist() for array in checked_inputs(_MANIFEST, *inputs)]
    except UsageError as error:
        return str(error)


@settings(max_examples=1000)
@given(st.data())
def test_a_row_of_arrays_is_judged_as_the_same_row_of_lists(data: st.DataObject) -> None:
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


def test_a_good_row_of_arrays_is_taken_as_it_is() -> None:
    row = np.array([[3, 4, 0]]), np.array([[1, 1, 1]]), np.array([[0, 1, 0]])
    assert is_visible_row(_MANIFEST, *row)
    for array, taken in zip(row, checked_inputs(_MANIFEST, *row), strict=True):
        assert taken is array


_GOOD = np.array([[1, 1, 1]])


@pytest.mark.parametrize(
    ("place", "array"),
    [
        (0, np.array([[1, 1]])),
        (0, np.array([[1, 20, 1]])),
        (0, np.array([[1, -1, 1]])),
        (0, [[1, 1, 1]]),
        (0, np.array([1, 1, 1])),
        (0, np.array(1)),
        (0, np.array([[[1], [1], [1]]])),
        (1, None),
        (1, np.array([[1, 1, 0]])),
        (1, np.array([[1, 0, 1]])),
        (1, np.array([[1, 1, 2]])),
        (1, np.array([[1, 1, 1], [1, 1, 1]])),
        (2, np.array([[1, 1, 2]])),
        (2, np.array([[1, 1, -1]])),
        (2, np.array([[1, 1, 1]], dtype=np.int32)),
        (2, np.array([[1.0, 1.0, 1.0]])),
    ],
)
def test_anything_else_is_looked_at_closely(place: int, array: Any) -> None:
    row: list[Any] = [_GOOD] * 3
    assert is_visible_row(_MANIFEST, *row)
    row[place] = array
    assert not is_visible_row(_MANIFEST, *row)


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
    assert not is_visible_row(_MANIFEST, *row)
    assert all(type(array) is np.ndarray for array in checked_inputs(_MANIFEST, *row))


def test_a_batch_is_not_made_lists() -> None:
    batch = np.ones((1000, 6), np.int64)
    tracemalloc.start()
    assert not is_visible_row(_MANIFEST, batch, batch, batch)
    assert tracemalloc.get_traced_memory()[1] < 10_000
    tracemalloc.stop()


def test_rows_of_unequal_length_are_refused() -> None:
    assert "input_ids is no array" in _outcome([[1, 2], [1]])
    assert "attention_mask is no array" in _outcome([[1, 2], [1, 2]], [[1, 1], [1]])


@pytest.mark.parametrize("width", [0, 7])
def test_a_row_of_no_token_or_too_many_is_looked_at_closely(width: int) -> None:
    assert not is_visible_row(_MANIFEST, *[np.ones((1, width), np.int64)] * 3)


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.bool_])
def test_other_integers_become_int64(dtype: Any) -> None:
    row = np.array([[1, 1, 0]], dtype=dtype)
    for array in checked_inputs(_MANIFEST, row, row, row):
        assert array.dtype == np.int64
        assert array.tolist() == [[1, 1, 0]]


def test_rows_of_different_shapes_are_refused() -> None:
    assert "attention_mask has the shape [1, 2]; input_ids has [1, 3]" in _outcome(
        np.array([[3, 4, 5]]), np.array([[1, 1]]), np.array([[0, 0, 0]])
    )
