"""The rows that wait before each stage, on a device (`fastbert.runtime.batching.stage_pools.StagePools`)."""

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime import tensors
from fastbert.runtime.engines.gpu.lane import Executor, Lane
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
        slots, sequence = shape
        self.batch = batch
        self.stages = executor.stages
        self._executor = executor
        self._lane = lane
        self._run = lane.begin()
        self._shape = shape
        self._graphs = graphs
        self._waiting = [0] * self.stages
        self._running = (0, 0)  # stage, rows
        mask_row = sequence * np.dtype(executor.hidden_dtype).itemsize
        self._row_bytes = (mask_row * executor.hidden_size, mask_row)  # of hidden states and mask
        self._shapes = {
            tensors.HIDDEN_STATES: (slots, sequence, executor.hidden_size),
            tensors.MASK: (slots, 1, 1, sequence),
        }

    def embed(self, inputs: Inputs) -> None:
        """Copy the ids to the device and start the embeddings, which write to the pool of stage 0."""
        lane = self._lane.require(self._run)
        rows, length = inputs.input_ids.shape
        slots, sequence = self._shape
        with self._executor.turn:
            lane.reserve(slots, sequence)  # here, as pools that no row comes to need no memory
            lane.reserve_pools(2 * slots * sequence)
            lane.worker.stream.synchronize()  # a run that ended in an error may still read the buffers
            hidden_states, mask = lane.pool(0)
            addresses = {name: lane.address(name) for name in tensors.TOKENS}
            for name, array in zip(tensors.TOKENS, inputs[:3], strict=True):
                padded = lane.host(name, self._shape)
                padded[:] = 0  # id 0 of a token that the mask hides
                padded[:rows, :length] = array
                lane.worker.stream.to_device(lane.address(name), padded)
            outputs = {tensors.HIDDEN_STATES: hidden_states, tensors.MASK: mask}
            lane.worker.enqueue("embeddings", dict.fromkeys(tensors.TOKENS, self._shape), {**addresses, **outputs})
        self._waiting[0] = rows

    def run_stage(self, stage: int, rows: int) -> NDArray[np.float32]:
        """Run a stage on the first rows of its pool, and wait for their uncertainty."""
        lane = self._lane.require(self._run)
        self._running = (stage, rows)
        uncertainty = lane.host("uncertainty", self._shape[:1])
        hidden_states, mask = lane.pool(stage)
        addresses = {
            tensors.HIDDEN_STATES: hidden_states,
            tensors.MASK: mask,
            tensors.NEXT_HIDDEN_STATES: lane.address("hidden", 0),
            tensors.LOGITS: lane.address("logits"),
            tensors.UNCERTAINTY: lane.address("uncertainty"),
        }

        def enqueue() -> None:
            lane.worker.enqueue(stage, self._shapes, addresses)
            lane.worker.stream.to_host(uncertainty, lane.address("uncertainty"))

        with self._executor.turn:
            if self._graphs:
                lane.replay(("pool", stage, self._shape), enqueue)
            else:
                enqueue()
            lane.worker.stream.synchronize()
        return uncertainty[:rows].copy()

    def logits(self) -> NDArray[np.float32]:
        """Copy the logits of the stage that ran to the host."""
        lane, (_, rows) = self._lane.require(self._run), self._running
        logits = lane.host("logits", (rows, self._executor.classes))
        with self._executor.turn:
            lane.worker.stream.to_host(logits, lane.address("logits"))
            lane.worker.stream.synchronize()
        return logits.copy()

    def advance(self, kept: NDArray[np.int64]) -> None:
        """Move rows of the run to the next stage's pool, and the rows that still wait to the front of their own."""
        lane, (stage, rows) = self._lane.require(self._run), self._running
        with self._executor.turn:
            if len(kept):
                self._gather(stage, kept)
                gathered = (lane.address("hidden", 1), lane.address("mask", 0))
                self._copy(lane.pool(stage + 1), self._waiting[stage + 1], gathered, 0, len(kept))
                self._waiting[stage + 1] += len(kept)
            self._waiting[stage] -= rows
            self._copy(lane.pool(stage), 0, lane.pool(stage), rows, self._waiting[stage])

    def _gather(self, stage: int, kept: NDArray[np.int64]) -> None:
        lane = self._lane
        _, mask = lane.pool(stage)
        index = lane.host("rows", self._shape[:1])
        index[:] = kept[0]
        index[: len(kept)] = kept
        lane.worker.stream.to_device(lane.address("rows"), index)
        addresses = {
            tensors.HIDDEN_STATES: lane.address("hidden", 0),
            tensors.MASK: mask,
            tensors.ROWS: lane.address("rows"),
            tensors.KEPT_HIDDEN_STATES: lane.address("hidden", 1),
            tensors.KEPT_MASK: lane.address("mask", 0),
        }
        lane.worker.enqueue("compaction", {**self._shapes, tensors.ROWS: self._shape[:1]}, addresses)

    def _copy(self, to: tuple[int, int], to_row: int, source: tuple[int, int], row: int, rows: int) -> None:
        """Copy rows of hidden states and mask between addresses."""
        if rows:
            for target, start, nbytes in zip(to, source, self._row_bytes, strict=True):
                self._lane.worker.stream.copy(target + to_row * nbytes, start + row * nbytes, rows * nbytes)
