"""The chain on a device: hidden states stay there from the embeddings to the last exit.

At each exit only the uncertainty travels to the host, and where samples exit, the logits. Samples that have exited are
removed on the device by ``compaction.onnx``, which gathers the rows to keep. `DeviceChain` knows buffers and their
order; an `Executor` (``tensorrt.py``, ``onnxruntime.py``) runs the graphs.
"""

import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbert.runtime import tensors

Shapes = Mapping[str, tuple[int, ...]]


class Worker(Protocol):
    """Runs graphs for one thread, on one stream."""

    @property
    def stream(self) -> Any:
        """A `fastbert.runtime.engines.gpu.cuda.Stream`, or an object with its methods."""

    def replay(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Enqueue work through CUDA graphs. Equal keys mean equal work."""

    def enqueue(self, graph: str | int, shapes: Shapes, addresses: Mapping[str, int]) -> None:
        """Start a graph: ``"embeddings"``, ``"compaction"``, or a stage's number.

        :param shapes: of every input.
        :param addresses: on the device, of every input and output.
        """


class Executor(Protocol):
    """Holds the graphs of a variant. Shared by threads.

    :param memory: has ``allocate`` and ``pinned`` of `fastbert.runtime.engines.gpu.cuda.Gpu`.
    :param turn: a thread holds it while it uses the device.
    :param stages: number of stages.
    :param hidden_dtype: type of hidden states and mask.
    :param classes: number of classes.
    :param capacity: (batch, sequence) of a thread's first buffers; they grow where a run needs more.
    """

    memory: Any
    turn: AbstractContextManager[Any]
    stages: int
    hidden_size: int
    hidden_dtype: np.dtype[Any]
    classes: int
    capacity: tuple[int, int]

    @property
    def max_batch(self) -> int | None:
        """Most rows of one run; None: no limit."""

    def worker(self) -> Worker:
        """Return the worker of a new thread."""

    def fit(self, batch: int, sequence: int, *, pad_batch: bool) -> tuple[int, int]:
        """Return the (batch, sequence) to run these rows in; with ``pad_batch`` one of a few, with rows added.

        :raises UsageError: no profile holds them.
        """


@dataclass(frozen=True)
class _State:
    """The samples of a run.

    :param run: the lane's run; the state is valid until its lane starts the next one.
    :param rows: number of samples.
    :param batch: number of rows that run, padding included.
    :param hidden: which of the two buffers holds the hidden states.
    :param mask: which of the two buffers holds the mask.
    """

    lane: "Lane"
    run: int
    rows: int
    batch: int
    sequence: int
    hidden: int = 0
    mask: int = 0


class DeviceChain:
    """An engine (`fastbert.runtime.chain.Engine`) of stages on a device. May be shared by threads.

    :param graphs: replay the work between two exits as CUDA graphs, captured for each shape.
    """

    run_row = None

    def __init__(self, executor: Executor, *, graphs: bool = False) -> None:
        self._executor = executor
        self._graphs = graphs
        self._threads = threading.local()
        self._free: list[Lane] = []  # their threads have ended

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
            lane.worker.stream.synchronize()  # a run that ended in an error may still read the buffers
            for name, array in zip(tensors.TOKENS, (input_ids, attention_mask, token_type_ids), strict=True):
                padded = lane.host(name, (batch, sequence))
                padded[:] = 0  # id 0 of a token that the mask hides
                padded[:rows, :length] = array
                lane.worker.stream.to_device(lane.address(name), padded)
            inputs = {name: lane.address(name) for name in tensors.TOKENS}
            outputs = {tensors.HIDDEN_STATES: lane.address("hidden", 0), tensors.MASK: lane.address("mask", 0)}
            lane.worker.enqueue("embeddings", dict.fromkeys(tensors.TOKENS, (batch, sequence)), {**inputs, **outputs})
        return _State(lane, lane.begin(), rows, batch, sequence)

    def run_stage(self, stage: int, state: _State) -> tuple[_State, NDArray[np.float32]]:
        """Run a stage, and wait for the uncertainty of its exit."""
        lane = state.lane.require(state.run)
        uncertainty = lane.host("uncertainty", (state.batch,))

        def enqueue() -> None:
            self._enqueue_stage(stage, state)
            lane.worker.stream.to_host(uncertainty, lane.address("uncertainty"))

        with self._executor.turn:
            if self._graphs:
                lane.replay((stage, state.batch, state.sequence, state.hidden, state.mask), enqueue)
            else:
                enqueue()
            lane.worker.stream.synchronize()
        return replace(state, hidden=1 - state.hidden), uncertainty[: state.rows].copy()

    def logits(self, state: _State) -> NDArray[np.float32]:
        """Copy the logits of the last exit to the host."""
        lane = state.lane.require(state.run)
        logits = lane.host("logits", (state.batch, self._executor.classes))
        with self._executor.turn:
            lane.worker.stream.to_host(logits, lane.address("logits"))
            lane.worker.stream.synchronize()
        return logits[: state.rows].copy()

    def keep(self, state: _State, rows: NDArray[np.int64], sequence: int) -> _State:
        """Keep only these samples, on the device; padding stays, so that shapes remain few."""
        lane = state.lane.require(state.run)
        batch, _ = self._executor.fit(len(rows), state.sequence, pad_batch=self._graphs)
        index = lane.host("rows", (batch,))
        index[:] = rows[0]
        index[: len(rows)] = rows
        shapes = {**self._stage_shapes(state), tensors.ROWS: (batch,)}
        addresses = {
            tensors.HIDDEN_STATES: lane.address("hidden", state.hidden),
            tensors.MASK: lane.address("mask", state.mask),
            tensors.ROWS: lane.address("rows"),
            tensors.KEPT_HIDDEN_STATES: lane.address("hidden", 1 - state.hidden),
            tensors.KEPT_MASK: lane.address("mask", 1 - state.mask),
        }
        with self._executor.turn:
            lane.worker.stream.to_device(lane.address("rows"), index)
            lane.worker.enqueue("compaction", shapes, addresses)
        return replace(state, rows=len(rows), batch=batch, hidden=1 - state.hidden, mask=1 - state.mask)

    def _enqueue_stage(self, number: int, state: _State) -> None:
        lane = state.lane
        addresses = {
            tensors.HIDDEN_STATES: lane.address("hidden", state.hidden),
            tensors.MASK: lane.address("mask", state.mask),
            tensors.NEXT_HIDDEN_STATES: lane.address("hidden", 1 - state.hidden),
            tensors.LOGITS: lane.address("logits"),
            tensors.UNCERTAINTY: lane.address("uncertainty"),
        }
        lane.worker.enqueue(number, self._stage_shapes(state), addresses)

    def _stage_shapes(self, state: _State) -> dict[str, tuple[int, ...]]:
        return {
            tensors.HIDDEN_STATES: (state.batch, state.sequence, self._executor.hidden_size),
            tensors.MASK: (state.batch, 1, 1, state.sequence),
        }

    def _lane(self) -> "Lane":
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

    lane: "Lane"


class Lane:
    """One thread's buffers, and the worker that fills them."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.worker = executor.worker()
        self._run = 0
        self._device: dict[str, list[Any]] = {}
        self._host: dict[str, NDArray[Any]] = {}
        self._capacity = (0, 0)
        self.reserve(*executor.capacity)

    def reserve(self, batch: int, sequence: int) -> None:
        """Make room for a run of this shape."""
        if batch <= self._capacity[0] and sequence <= self._capacity[1]:
            return
        batch, sequence = max(batch, self._capacity[0]), max(sequence, self._capacity[1])
        self.worker.stream.synchronize()
        self._capacity = (0, 0)
        self._device.clear()  # before the larger ones are made
        executor = self._executor
        tokens, hidden = batch * sequence, executor.hidden_dtype
        # name -> (count, elements, type, whether the host has one too)
        plan: dict[str, tuple[int, int, DTypeLike, bool]] = {
            **dict.fromkeys(tensors.TOKENS, (1, tokens, np.int64, True)),
            "hidden": (2, tokens * executor.hidden_size, hidden, False),
            "mask": (2, tokens, hidden, False),
            "rows": (1, batch, np.int64, True),
            "logits": (1, batch * executor.classes, np.float32, True),
            "uncertainty": (1, batch, np.float32, True),
        }
        for name, (count, elements, dtype, on_host) in plan.items():
            nbytes, what = elements * np.dtype(dtype).itemsize, f"{name} of {batch} x {sequence} tokens"
            self._device[name] = [executor.memory.allocate(nbytes, what) for _ in range(count)]
            if on_host:
                self._host[name] = executor.memory.pinned((elements,), dtype)
        self._capacity = (batch, sequence)

    def address(self, name: str, side: int = 0) -> int:
        """Return a buffer's address on the device."""
        return int(self._device[name][side].address)

    def host(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a buffer's counterpart on the host, in this shape."""
        return self._host[name][: int(np.prod(shape))].reshape(shape)

    def begin(self) -> int:
        """Start a run and return its number; states of the run before are no longer valid."""
        self._run += 1
        return self._run

    def require(self, run: int) -> "Lane":
        """Return this lane.

        :raises ValueError: the run is over, and its buffers hold another one.
        """
        if run != self._run:
            raise ValueError("this state's run is over: the same thread has started another")
        return self

    def replay(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Enqueue through a CUDA graph; graphs hold addresses, so buffers that grew need new ones."""
        self.worker.replay((self._capacity, key), enqueue)
