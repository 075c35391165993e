"""Runs many rows in full batches: rows that have not exited wait at their stage until its next batch is full.

For engines on which a stage costs almost the same whatever its number of rows, as on a GPU. There a batch that shrinks
from exit to exit (`fastbert.runtime.chain.run_chain`) saves little; a stage that runs less often does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.exit_rule import ExitRule
from fastbert.runtime.inputs import Inputs


class StagePools(Protocol):
    """The rows that wait at each stage, on an engine's device. For one thread.

    A run of a stage ends with `advance`, before the next run begins.
    """

    @property
    def batch(self) -> int:
        """Rows of a full batch. A pool has room for one row less than two batches."""

    def embed(self, inputs: Inputs) -> None:
        """Run the embeddings of at most `batch` rows, and put them into the pool of stage 0, which is empty."""

    def run_stage(self, stage: int, rows: int) -> NDArray[np.float32]:
        """Run a stage on the first rows of its pool, at most `batch`; return their uncertainty: float32 [rows]."""

    def logits(self) -> NDArray[np.float32]:
        """Return the logits of the stage that ran: float32 [rows, classes]."""

    def advance(self, kept: NDArray[np.int64]) -> None:
        """Move these rows of the run, by their index in it, to the next stage's pool; remove all of it from its own."""


# (rows, sequence) -> empty pools for batches of at most so many rows, of up to so many tokens.
OpenPools = Callable[[int, int], StagePools]


class Answered(NamedTuple):
    """Rows that exited together.

    :param rows: their numbers, int64 [rows].
    :param layer: 0-based layer of their exit.
    :param logits: float32 [rows, classes].
    :param uncertainty: float32 [rows].
    """

    rows: NDArray[np.int64]
    layer: int
    logits: NDArray[np.float32]
    uncertainty: NDArray[np.float32]


def run_pooled(
    pools: StagePools,
    exits: Sequence[int],
    rule: ExitRule,
    batches: Iterable[tuple[NDArray[np.int64], Inputs]],
) -> Iterator[Answered]:
    """Run batches of rows, and yield the answers as rows exit.

    The deepest stage whose batch is full runs first, so a pool never holds more than it has room for. After the last
    batch the pools are emptied, in the order of the stages: at most one batch of each stage is not full.

    :param exits: 0-based layer of each stage's exit.
    :param batches: (numbers of the rows, the rows), `StagePools.batch` rows each but for the last one.
    """
    waiting: list[NDArray[np.int64]] = [np.zeros(0, np.int64) for _ in exits]

    def run(stage: int) -> Iterator[Answered]:
        rows, waiting[stage] = np.split(waiting[stage], [min(pools.batch, len(waiting[stage]))])
        uncertainty = pools.run_stage(stage, len(rows))
        last = stage == len(exits) - 1
        exiting = np.ones(len(rows), np.bool_) if last else rule.exits(uncertainty)
        if exiting.any():
            yield Answered(rows[exiting], exits[stage], pools.logits()[exiting], uncertainty[exiting])
        kept = np.flatnonzero(~exiting)
        pools.advance(kept)
        if not last:
            waiting[stage + 1] = np.concatenate([waiting[stage + 1], rows[kept]])

    def run_with_full(stage: int) -> Iterator[Answered]:
        yield from run(stage)
        while full := [deeper for deeper, rows in enumerate(waiting) if len(rows) >= pools.batch]:
            yield from run(full[-1])

    for numbers, inputs in batches:
        pools.embed(inputs)
        waiting[0] = numbers
        yield from run_with_full(0)
    for stage in range(len(exits)):
        while len(waiting[stage]):
            yield from run_with_full(stage)
