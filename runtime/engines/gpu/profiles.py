"""The shapes that engines are built for: each bucket is one optimization profile."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastbert.runtime.errors import UsageError

__all__ = ["Bucket", "Buckets"]


@dataclass(frozen=True)
class Bucket:
    """Batches of ``min_batch`` to ``max_batch`` rows of ``sequence`` tokens; tuned for the largest."""

    min_batch: int
    max_batch: int
    sequence: int


class Buckets:
    """All buckets of a variant; a bucket's place is its profile's number."""

    def __init__(self, buckets: Iterable[Bucket]) -> None:
        self.all = tuple(buckets)

    @classmethod
    def from_sizes(cls, batches: Sequence[int], sequences: Sequence[int]) -> "Buckets":
        """Make a bucket of each batch size with each sequence length.

        :raises UsageError: a size is below 1, or there is none.
        """
        for name, sizes in (("--batch", batches), ("--sequence", sequences)):
            if not sizes or min(sizes) < 1:
                raise UsageError(f"{name} names {list(sizes)}; expected numbers from 1, such as 1,8,32.")
        tops = sorted(set(batches))
        ranges = [(low + 1, high) for low, high in zip([0, *tops], tops, strict=False)]
        return cls(Bucket(low, high, sequence) for sequence in sorted(set(sequences)) for low, high in ranges)

    @classmethod
    def from_manifest(cls, records: Iterable[Mapping[str, Any]]) -> "Buckets":
        """Read what `as_records` wrote."""
        return cls(Bucket(record["batch"][0], record["batch"][1], record["sequence"]) for record in records)

    def as_records(self) -> list[dict[str, Any]]:
        """Return the buckets for the manifest."""
        return [{"batch": [b.min_batch, b.max_batch], "sequence": b.sequence} for b in self.all]

    @property
    def max_batch(self) -> int:
        """Largest batch of all."""
        return max(bucket.max_batch for bucket in self.all)

    @property
    def max_sequence(self) -> int:
        """Longest sequence of all."""
        return max(bucket.sequence for bucket in self.all)

    def find(self, batch: int, sequence: int) -> int:
        """Return the number of the bucket with the shortest sequence that holds these rows.

        :raises UsageError: none does; which there are.
        """
        fitting = [
            (bucket.sequence, number)
            for number, bucket in enumerate(self.all)
            if bucket.min_batch <= batch <= bucket.max_batch and sequence <= bucket.sequence
        ]
        if not fitting:
            raise UsageError(
                f"No profile of the engines holds {batch} x {sequence} tokens (batch x sequence). They were built for: "
                f"{self}. Cut the texts, or build more: fastbert build --batch, --sequence."
            )
        return min(fitting)[1]

    def __str__(self) -> str:
        return ", ".join(f"{bucket.min_batch}-{bucket.max_batch} x {bucket.sequence}" for bucket in self.all)
