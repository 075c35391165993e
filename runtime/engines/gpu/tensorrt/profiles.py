"""The shapes that TensorRT engines are built for: each bucket is one optimization profile."""

from collections.abc import Iterable, Sequence
from typing import Any

from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import Bucket


class Buckets:
    """All buckets of a variant; a bucket's index is its profile's number."""

    def __init__(self, buckets: Iterable[Bucket]) -> None:
        self.all = tuple(buckets)

    @classmethod
    def from_sizes(cls, batches: Sequence[int], sequences: Sequence[int]) -> "Buckets":
        """Make a bucket for each batch size and sequence length.

        :raises UsageError: a size is below 1, or there are none.
        """
        for name, sizes in (("batches", batches), ("sequences", sequences)):
            if not sizes or min(sizes) < 1:
                raise UsageError(f"`{name}` is {list(sizes)}; expected numbers from 1, such as 1,8,32.")
        tops = sorted(set(batches))
        ranges = [(low + 1, high) for low, high in zip([0, *tops], tops, strict=False)]
        return cls(Bucket(low, high, sequence) for sequence in sorted(set(sequences)) for low, high in ranges)

    def as_records(self) -> list[dict[str, Any]]:
        """Return the buckets for the manifest."""
        return [{"batch": [b.min_batch, b.max_batch], "sequence": b.sequence} for b in self.all]

    @property
    def max_batch(self) -> int:
        """Largest batch, in rows."""
        return max(bucket.max_batch for bucket in self.all)

    @property
    def max_sequence(self) -> int:
        """Longest sequence, in tokens."""
        return max(bucket.sequence for bucket in self.all)

    def of(self, graph: str | int) -> tuple[Bucket, ...]:
        """Return the profiles of an engine: all, but for a single row's, which takes any length up to the longest."""
        return (Bucket(1, 1, self.max_sequence),) if graph == "row" else self.all

    def find(self, batch: int, sequence: int) -> int:
        """Return the number of the bucket with the shortest sequence that holds these rows.

        :raises UsageError: none does; the message lists them.
        """
        fitting = [
            (bucket.sequence, number)
            for number, bucket in enumerate(self.all)
            if bucket.min_batch <= batch <= bucket.max_batch and sequence <= bucket.sequence
        ]
        if not fitting:
            raise UsageError(
                f"The engines have no profile for {batch} x {sequence} tokens (batch x sequence). They were built for "
                f"{self}. Cut the texts, or build more profiles: fastbert build BUNDLE --batch ... --sequence ..."
            )
        return min(fitting)[1]

    def __str__(self) -> str:
        return ", ".join(f"{bucket.min_batch}-{bucket.max_batch} x {bucket.sequence}" for bucket in self.all)
