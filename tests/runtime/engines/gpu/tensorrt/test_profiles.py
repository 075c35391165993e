import pytest

from fastbert.runtime.engines.gpu.tensorrt.profiles import Buckets
from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import Bucket


def test_batches_and_sequences_make_buckets_without_gaps():
    buckets = Buckets.from_sizes([8, 1, 8], [64, 32])
    assert buckets.all == (Bucket(1, 1, 32), Bucket(2, 8, 32), Bucket(1, 1, 64), Bucket(2, 8, 64))
    assert (buckets.max_batch, buckets.max_sequence) == (8, 64)
    assert [Bucket(*record["batch"], record["sequence"]) for record in buckets.as_records()] == list(buckets.all)


@pytest.mark.parametrize(
    ("batch", "sequence", "found"),
    [(1, 1, Bucket(1, 1, 32)), (1, 33, Bucket(1, 1, 64)), (2, 32, Bucket(2, 8, 32)), (8, 64, Bucket(2, 8, 64))],
)
def test_rows_run_in_the_shortest_bucket_that_holds_them(batch, sequence, found):
    buckets = Buckets.from_sizes([1, 8], [32, 64])
    assert buckets.all[buckets.find(batch, sequence)] == found


@pytest.mark.parametrize(("batch", "sequence"), [(9, 32), (1, 65)])
def test_rows_that_fit_no_bucket_are_refused_with_all_buckets(batch, sequence):
    with pytest.raises(UsageError, match=rf"for {batch} x {sequence} tokens.*1-1 x 32, 2-8 x 32, 1-1 x 64, 2-8 x 64"):
        Buckets.from_sizes([1, 8], [32, 64]).find(batch, sequence)


@pytest.mark.parametrize(
    ("batches", "sequences", "named"), [([0], [32], "batches"), ([1], [], "sequences"), ([1], [-4], "sequences")]
)
def test_sizes_below_one_are_refused(batches, sequences, named):
    with pytest.raises(UsageError, match=f"`{named}` is .*; expected numbers from 1"):
        Buckets.from_sizes(batches, sequences)
