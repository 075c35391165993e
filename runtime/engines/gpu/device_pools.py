"""The rows that wait before each stage, on a device (`fastbert.runtime.batching.stage_pools.StagePools`)."""

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.engines.gpu.lane import Executor, Lane, Places
from fastbert.runtime.inputs import Inputs


class DevicePools:
    """Pools of one thread's lane, empty at first. They are valid until the thread starts another run.

    Every stage runs the first rows of its pool, always as many, so shapes and addresses stay the same for CUDA graphs.
    Rows beyond those that wait hold what was there before; rows do not depend on each other.

    :param batch: rows of a full batch.
    :param shape: (batch, sequence) that every run has, padding included.
    :param graphs: replay a stage as a CUDA graph.
    """

    def __init__(self, executor: Executor, lane: Lane, batch: int, shape: tuple[int, int], *, graphs: bool) -> None:
        self.batch = batch
        self._executor = executor
        self._lane = lane
        self._run = lane.begin()
        self._shape = shape
        self._graphs = graphs
        self._waiting = [0] * executor.stages
        self._running = (0, 0)  # stage, rows
        mask_row = shape[1] * np.dtype(executor.hidden_dtype).itemsize
        self._row_bytes = (mask_row * executor.hidden_size, mask_row)  # of hidden states and mask

    def embed(self, inputs: Inputs) -> None:
        """Copy the ids to the device and start the embeddings, which write to the pool of stage 0."""
        lane = self._lane.require(self._run)
        slots, sequence = self._shape
        with self._executor.turn:
            lane.reserve(slots, sequence)  # here, as pools that no row comes to need no memory
            lane.reserve_pools(2 * slots * sequence)
            lane.start_embeddings(inputs[:3], self._shape, lane.pool(0))
        self._waiting[0] = len(inputs.input_ids)

    def run_stage(self, stage: int, rows: int) -> NDArray[np.float32]:
        """Run a stage on the first rows of its pool, and wait for their uncertainty."""
        lane = self._lane.require(self._run)
        self._running = (stage, rows)

        def enqueue() -> None:
            lane.start_stage(stage, self._shape, lane.pool(stage), lane.address("hidden", 0))

        with self._executor.turn:
            if self._graphs:
                lane.replay(("pool", stage, self._shape), enqueue)
            else:
                enqueue()
            lane.worker.stream.synchronize()
        return lane.host("uncertainty", (rows,)).copy()

    def logits(self) -> NDArray[np.float32]:
        """Copy the logits of the stage that ran to the host."""
        lane, (_, rows) = self._lane.require(self._run), self._running
        with self._executor.turn:
            return lane.logits(rows)

    def advance(self, kept: NDArray[np.int64]) -> None:
        """Move rows of the run to the next stage's pool, and the rows that still wait to the front of their own."""
        lane, (stage, rows) = self._lane.require(self._run), self._running
        with self._executor.turn:
            if len(kept):
                source = (lane.address("hidden", 0), lane.pool(stage)[1])
                gathered = (lane.address("hidden", 1), lane.address("mask", 0))
                lane.start_compaction(kept, self._shape[0], self._shape, source, gathered)
                self._copy(lane.pool(stage + 1), self._waiting[stage + 1], gathered, 0, len(kept))
                self._waiting[stage + 1] += len(kept)
            self._waiting[stage] -= rows
            self._copy(lane.pool(stage), 0, lane.pool(stage), rows, self._waiting[stage])

    def _copy(self, to: Places, to_row: int, source: Places, row: int, rows: int) -> None:
        """Copy rows of hidden states and mask between addresses."""
        if rows:
            for target, start, nbytes in zip(to, source, self._row_bytes, strict=True):
                self._lane.worker.stream.copy(target + to_row * nbytes, start + row * nbytes, rows * nbytes)
