"""The chain on a device: hidden states stay there from the embeddings to the last exit.

Only an exit's uncertainty travels to the host before the decision, and the logits of an exit that somebody takes.
Samples that left are dropped on the device, by a graph that gathers the rows named to it. `DeviceChain` knows buffers
and order; what runs a graph is an `Executor`: ``tensorrt.py`` and ``onnxruntime_cuda.py`` each have one.
"""

import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["DeviceChain", "Executor", "Lane", "Shapes", "Worker"]

_IDS = ("input_ids", "attention_mask", "token_type_ids")
Shapes = Mapping[str, tuple[int, ...]]


class Worker(Protocol):
    """Runs graphs for one thread, on one stream."""

    @property
    def stream(self) -> Any:
        """Its `fastbert.runtime.engines.gpu.cuda.Stream`, or one of the same methods."""

    def replay(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Enqueue work through CUDA graphs; it is the same whenever ``key`` is."""

    def enqueue(self, graph: str | int, shapes: Shapes, addresses: Mapping[str, int]) -> None:
        """Start a graph: ``"embeddings"``, ``"compaction"``, or a stage's number.

        :param shapes: of every input.
        :param addresses: on the device, of every input and output.
        """


class Executor(Protocol):
    """Holds the graphs of a variant. Shared by threads.

    :param memory: has ``allocate`` and ``pinned`` of `fastbert.runtime.engines.gpu.cuda.Gpu`.
    :param turn: what a thread holds while it uses the device.
    :param stages: how many there are.
    :param hidden_size: width of hidden_states; ``hidden_dtype`` is its type and the mask's.
    :param capacity: (batch, sequence) to make buffers for at once; they grow where a run needs more.
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
        """Return what a new thread runs graphs with."""

    def fit(self, batch: int, sequence: int, *, pad_batch: bool) -> tuple[int, int]:
        """Return the shape to run these rows in; with ``pad_batch`` one of few shapes, with rows added.

        :raises UsageError: no profile holds them.
        """


@dataclass(frozen=True)
class _State:
    """Where the samples of a run are: which of the two buffers of hidden_states and of masks.

    :param rows: samples; ``batch`` is what runs, padding included.
    :param run: of the lane; a state is over when its lane starts the next run.
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

    :param exit_every: look at every so many exits only, which saves as many copies and waits; the last one counts.
        `stages` then is the number of exits looked at.
    :param graphs: replay what lies between two looks as CUDA graphs, captured for each shape.
    """

    run_row = None

    def __init__(self, executor: Executor, *, exit_every: int = 1, graphs: bool = False) -> None:
        self._executor = executor
        self._graphs = graphs
        numbers = list(range(executor.stages))
        self._segments = [numbers[start : start + exit_every] for start in range(0, len(numbers), exit_every)]
        self._threads = threading.local()
        self._free: list[Lane] = []  # of threads that ended

    @property
    def stages(self) -> int:
        """Number of exits looked at."""
        return len(self._segments)

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
            lane.worker.stream.synchronize()  # a run that an error cut short may still be reading what is written here
            for name, array in zip(_IDS, (input_ids, attention_mask, token_type_ids), strict=True):
                padded = lane.host(name, (batch, sequence))
                padded[:] = 0  # id 0 of a token that the mask hides
                padded[:rows, :length] = array
                lane.worker.stream.to_device(lane.address(name), padded)
            names = {name: lane.address(name) for name in _IDS}
            outputs = {"hidden_states": lane.address("hidden", 0), "extended_attention_mask": lane.address("mask", 0)}
            lane.worker.enqueue("embeddings", dict.fromkeys(_IDS, (batch, sequence)), {**names, **outputs})
        return _State(lane, lane.begin(), rows, batch, sequence)

    def run_stage(self, stage: int, state: _State) -> tuple[_State, NDArray[np.float32]]:
        """Run the stages up to the next exit looked at, and wait for its uncertainty."""
        lane, segment = state.lane.require(state.run), self._segments[stage]
        uncertainty = lane.host("uncertainty", (state.batch,))

        def enqueue() -> None:
            for offset, number in enumerate(segment):
                self._enqueue_stage(number, state, (state.hidden + offset) % 2)
            lane.worker.stream.to_host(uncertainty, lane.address("uncertainty"))

        with self._executor.turn:
            if self._graphs:
                lane.replay((stage, state.batch, state.sequence, state.hidden, state.mask), enqueue)
            else:
                enqueue()
            lane.worker.stream.synchronize()
        return replace(state, hidden=(state.hidden + len(segment)) % 2), uncertainty[: state.rows].copy()

    def logits(self, state: _State) -> NDArray[np.float32]:
        """Copy the logits of the last exit to the host."""
        lane = state.lane.require(state.run)
        logits = lane.host("logits", (state.batch, self._executor.classes))
        with self._executor.turn:
            lane.worker.stream.to_host(logits, lane.address("logits"))
            lane.worker.stream.synchronize()
        return logits[: state.rows].copy()

    def keep(self, state: _State, rows: NDArray[np.int64], sequence: int) -> _State:
        """Drop the samples that left, on the device; the padding of the others stays, as lengths are few there."""
        lane = state.lane.require(state.run)
        batch, _ = self._executor.fit(len(rows), state.sequence, pad_batch=self._graphs)
        index = lane.host("rows", (batch,))
        index[:] = rows[0]
        index[: len(rows)] = rows
        shapes = {**self._stage_shapes(state), "rows": (batch,)}
        addresses = {
            "hidden_states": lane.address("hidden", state.hidden),
            "extended_attention_mask": lane.address("mask", state.mask),
            "rows": lane.address("rows"),
            "kept_hidden_states": lane.address("hidden", 1 - state.hidden),
            "kept_extended_attention_mask": lane.address("mask", 1 - state.mask),
        }
        with self._executor.turn:
            lane.worker.stream.to_device(lane.address("rows"), index)
            lane.worker.enqueue("compaction", shapes, addresses)
        return replace(state, rows=len(rows), batch=batch, hidden=1 - state.hidden, mask=1 - state.mask)

    def _enqueue_stage(self, number: int, state: _State, hidden: int) -> None:
        lane = state.lane
        addresses = {
            "hidden_states": lane.address("hidden", hidden),
            "extended_attention_mask": lane.address("mask", state.mask),
            "next_hidden_states": lane.address("hidden", 1 - hidden),
            "logits": lane.address("logits"),
            "uncertainty": lane.address("uncertainty"),
        }
        lane.worker.enqueue(number, self._stage_shapes(state), addresses)

    def _stage_shapes(self, state: _State) -> dict[str, tuple[int, ...]]:
        return {
            "hidden_states": (state.batch, state.sequence, self._executor.hidden_size),
            "extended_attention_mask": (state.batch, 1, 1, state.sequence),
        }

    def _lane(self) -> "Lane":
        """Return the thread's lane: that of one that ended, or a new one, which costs allocations on the device."""
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
    """Goes when its thread does."""

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
        # name -> (how many, elements, type, whether the host has one too)
        plan: dict[str, tuple[int, int, DTypeLike, bool]] = {
            **dict.fromkeys(_IDS, (1, tokens, np.int64, True)),
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
        """Return where a buffer is on the device."""
        return int(self._device[name][side].address)

    def host(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a buffer's twin on the host, in this shape."""
        return self._host[name][: int(np.prod(shape))].reshape(shape)

    def begin(self) -> int:
        """Count a run; states of the one before are over."""
        self._run += 1
        return self._run

    def require(self, run: int) -> "Lane":
        """Return this lane.

        :raises ValueError: the run is over: its buffers hold another one.
        """
        if run != self._run:
            raise ValueError("this state's run is over: the same thread has started another")
        return self

    def replay(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Enqueue through a CUDA graph; it holds addresses, so buffers that grew make new ones."""
        self.worker.replay((self._capacity, key), enqueue)
