import pytest

from fastbert.runtime.engines.gpu.profiles import Bucket, Buckets
from fastbert.runtime.errors import UsageError


def test_batches_and_sequences_make_buckets_without_gaps():
    buckets = Buckets.from_sizes([8, 1, 8], [64, 32])
    assert buckets.all == (Bucket(1, 1, 32), Bucket(2, 8, 32), Bucket(1, 1, 64), Bucket(2, 8, 64))
    assert (buckets.max_batch, buckets.max_sequence) == (8, 64)
    assert Buckets.from_manifest(buckets.as_records()).all == buckets.all


@pytest.mark.parametrize(
    ("batch", "sequence", "found"),
    [(1, 1, Bucket(1, 1, 32)), (1, 33, Bucket(1, 1, 64)), (2, 32, Bucket(2, 8, 32)), (8, 64, Bucket(2, 8, 64))],
)
def test_the_shortest_bucket_that_holds_the_rows_is_taken(batch, sequence, found):
    buckets = Buckets.from_sizes([1, 8], [32, 64])
    assert buckets.all[buckets.find(batch, sequence)] == found


@pytest.mark.parametrize(("batch", "sequence"), [(9, 32), (1, 65)])
def test_what_fits_no_bucket_names_them_all(batch, sequence):
    with pytest.raises(UsageError, match=rf"holds {batch} x {sequence} tokens.*1-1 x 32, 2-8 x 32, 1-1 x 64, 2-8 x 64"):
        Buckets.from_sizes([1, 8], [32, 64]).find(batch, sequence)


@pytest.mark.parametrize(("batches", "sequences"), [([0], [32]), ([1], []), ([1], [-4])])
def test_sizes_below_one_are_refused(batches, sequences):
    with pytest.raises(UsageError, match="expected numbers from 1"):
        Buckets.from_sizes(batches, sequences)
