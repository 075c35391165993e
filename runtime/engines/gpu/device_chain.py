"""The chain on a device: hidden states stay there from the embeddings to the last exit.

At each exit only the uncertainty travels to the host, and where samples exit, the logits. Samples that have exited are
removed on the device by ``compaction.onnx``, which gathers the rows to keep. `DeviceChain` knows buffers and their
order; an `Executor` (``tensorrt/engines.py``, ``onnxruntime.py``) runs the graphs.
"""

import threading
import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.chain import RunRow
from fastbert.runtime.engines.gpu.device_pools import DevicePools
from fastbert.runtime.engines.gpu.lane import Executor, Lane, Places

POOL_TOKENS = 16384  # of a full batch


@dataclass(frozen=True)
class _State:
    """The samples of a run.

    :param run: the lane's run; the state is valid until its lane starts the next one.
    :param rows: number of samples.
    :param batch: number of rows that run, padding included.
    :param hidden: which of the two buffers holds the hidden states.
    :param mask: which of the two buffers holds the mask.
    """

    lane: Lane
    run: int
    rows: int
    batch: int
    sequence: int
    hidden: int = 0
    mask: int = 0


def _places(state: _State) -> Places:
    return (state.lane.address("hidden", state.hidden), state.lane.address("mask", state.mask))


class DeviceChain:
    """An engine (`fastbert.runtime.chain.Engine`) of stages on a device. May be shared by threads.

    :param graphs: replay the work between two exits as CUDA graphs, captured for each shape.
    """

    def __init__(self, executor: Executor, *, graphs: bool = False) -> None:
        self._executor = executor
        self._graphs = graphs
        self._threads = threading.local()
        self._free: list[Lane] = []  # their threads have ended

    @property
    def run_row(self) -> RunRow | None:
        """Runs a single row in one call; None: there is no graph for it."""
        return self._run_row if self._executor.has_row else None

    @property
    def stages(self) -> int:
        """Number of stages."""
        return self._executor.stages

    @property
    def max_batch(self) -> int | None:
        """Most rows of one run; None: no limit."""
        return self._executor.max_batch

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._executor.classes

    def start(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> _State:
        """Copy the ids to the device and start the embeddings there."""
        rows, length = input_ids.shape
        batch, sequence = self._executor.fit(rows, length, pad_batch=self._graphs)
        with self._executor.turn:
            lane = self._lane()
            lane.reserve(batch, sequence)
            to = (lane.address("hidden", 0), lane.address("mask", 0))
            lane.start_embeddings((input_ids, attention_mask, token_type_ids), (batch, sequence), to)
        return _State(lane, lane.begin(), rows, batch, sequence)

    def run_stage(self, stage: int, state: _State) -> tuple[_State, NDArray[np.float32]]:
        """Run a stage, and wait for the uncertainty of its exit."""
        lane = state.lane.require(state.run)
        shape = (state.batch, state.sequence)

        def enqueue() -> None:
            lane.start_stage(stage, shape, _places(state), lane.address("hidden", 1 - state.hidden))

        with self._executor.turn:
            if self._graphs:
                lane.replay((stage, *shape, state.hidden, state.mask), enqueue)
            else:
                enqueue()
            lane.worker.stream.synchronize()
        uncertainty = lane.host("uncertainty", (state.rows,))
        return replace(state, hidden=1 - state.hidden), uncertainty.copy()

    def logits(self, state: _State) -> NDArray[np.float32]:
        """Copy the logits of the last exit to the host."""
        lane = state.lane.require(state.run)
        with self._executor.turn:
            return lane.logits(state.rows)

    def pools(self, rows: int, sequence: int) -> DevicePools:
        """Return this thread's pools, empty, for batches of at most ``rows`` rows of up to ``sequence`` tokens."""
        slots = min(rows, max(1, POOL_TOKENS // sequence), self._executor.max_batch or rows)
        slots, sequence = self._executor.fit(slots, sequence, pad_batch=True)
        with self._executor.turn:
            return DevicePools(self._executor, self._lane(), min(rows, slots), (slots, sequence), graphs=self._graphs)

    def keep(self, state: _State, rows: NDArray[np.int64], sequence: int) -> _State:
        """Keep only these samples, on the device; padding stays, so that shapes remain few."""
        lane = state.lane.require(state.run)
        batch, _ = self._executor.fit(len(rows), state.sequence, pad_batch=self._graphs)
        kept = replace(state, rows=len(rows), batch=batch, hidden=1 - state.hidden, mask=1 - state.mask)
        with self._executor.turn:
            lane.start_compaction(rows, batch, (state.batch, state.sequence), _places(state), _places(kept))
        return kept

    def _run_row(
        self, input_ids: NDArray[np.int64], token_type_ids: NDArray[np.int64], speed: NDArray[np.float32]
    ) -> list[NDArray[Any]]:
        """Run a single row in one call, without a wait at any exit."""
        _, sequence = self._executor.fit(*input_ids.shape, pad_batch=False)
        with self._executor.turn:
            lane = self._lane()
            lane.begin()
            lane.reserve(1, sequence)
            return lane.run_row(input_ids, token_type_ids, speed)

    def _lane(self) -> Lane:
        """Return the thread's lane: a new one, or one whose thread has ended, which saves allocations on the device."""
        holder: _Holder | None = getattr(self._threads, "holder", None)
        if holder is None:
            try:
                lane = self._free.pop()
            except IndexError:
                lane = Lane(self._executor)
            holder = self._threads.holder = _Holder(lane)
            weakref.finalize(holder, self._free.append, lane).atexit = False
        return holder.lane


@dataclass(frozen=True, eq=False)
class _Holder:
    """Is collected when its thread ends."""

    lane: Lane
