import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastbert.runtime.batching.micro_batches import length_groups, micro_batches

lengths = st.lists(st.integers(1, 200), min_size=1, max_size=60)


@given(lengths, st.none() | st.integers(1, 9), st.integers(1, 300))
def test_every_row_is_in_one_batch_and_no_batch_is_too_large(lengths, batch_size, tokens):
    batches = micro_batches(lengths, batch_size=batch_size, tokens=tokens)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    widths = []
    for batch in batches:
        sizes = [lengths[row] for row in batch]
        assert batch_size is None or len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(sizes) <= tokens
        widths.append((min(sizes), max(sizes)))
    assert all(shortest >= longest for (shortest, _), (_, longest) in itertools.pairwise(widths))  # similar lengths


@given(st.lists(st.integers(1, 300), max_size=200), st.integers(1, 4000))
def test_length_groups_hold_every_row_once_and_are_large_enough(lengths, least_tokens):
    groups = length_groups(lengths, least_tokens=least_tokens)
    assert sorted(row for group in groups for row in group.tolist()) == list(range(len(lengths)))
    widths = [max(lengths[row] for row in group) for group in groups]
    assert widths == sorted(widths)
    for group, width in list(zip(groups, widths, strict=True))[:-1]:
        assert len(group) * width >= least_tokens


def test_length_groups_end_where_the_padded_size_changes():
    groups = length_groups([9, 16, 10, 17, 24, 25], least_tokens=1)
    assert [group.tolist() for group in groups] == [[0, 2], [1], [3, 4], [5]]
