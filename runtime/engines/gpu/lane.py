"""One thread's buffers on a device, and what runs graphs on them."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbert.runtime import tensors

Shapes = Mapping[str, tuple[int, ...]]
Places = tuple[int, int]  # addresses of hidden states and of their mask


class Worker(Protocol):
    """Runs graphs for one thread, on one stream."""

    @property
    def stream(self) -> Any:
        """A `fastbert.runtime.engines.gpu.cuda.Stream`, or an object with its methods."""

    def replay(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Enqueue work through CUDA graphs. Equal keys mean equal work."""

    def enqueue(self, graph: str | int, shapes: Shapes, addresses: Mapping[str, int]) -> None:
        """Start a graph: ``"embeddings"``, ``"compaction"``, ``"row"``, or a stage's number.

        :param shapes: of every input.
        :param addresses: on the device, of every input and output.
        """


class Executor(Protocol):
    """Holds the graphs of a variant. Shared by threads.

    :param memory: has ``allocate`` and ``pinned`` of `fastbert.runtime.engines.gpu.cuda.Gpu`.
    :param turn: a thread holds it while it uses the device.
    :param stages: number of stages.
    :param has_row: whether there is a graph ``"row"``, which runs a single row until an exit answers.
    :param hidden_dtype: type of hidden states and mask.
    :param classes: number of classes.
    :param capacity: (batch, sequence) of a thread's first buffers; they grow where a run needs more.
    """

    memory: Any
    turn: AbstractContextManager[Any]
    stages: int
    has_row: bool
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


class Lane:
    """One thread's buffers, and the worker that fills them."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.worker = executor.worker()
        self._run = 0
        self._device: dict[str, list[Any]] = {}
        self._host: dict[str, NDArray[Any]] = {}
        self._capacity = (0, 0)  # rows, tokens
        self._pools: list[Any] = []
        self._pool_tokens = 0
        self.reserve(*executor.capacity)

    def reserve(self, batch: int, sequence: int) -> None:
        """Make room for a run of this shape."""
        if batch <= self._capacity[0] and batch * sequence <= self._capacity[1]:
            return
        batch, tokens = max(batch, self._capacity[0]), max(batch * sequence, self._capacity[1])
        self.worker.stream.synchronize()
        self._capacity = (0, 0)
        self._device.clear()  # before the larger ones are made
        executor = self._executor
        hidden = executor.hidden_dtype
        # name -> (count, elements, type, whether the host has one too)
        plan: dict[str, tuple[int, int, DTypeLike, bool]] = {
            **dict.fromkeys(tensors.TOKENS, (1, tokens, np.int64, True)),
            "hidden": (2, tokens * executor.hidden_size, hidden, False),
            "mask": (2, tokens, hidden, False),
            "rows": (1, batch, np.int64, True),
            "logits": (1, batch * executor.classes, np.float32, True),
            "uncertainty": (1, batch, np.float32, True),
            "speed": (1, 1, np.float32, True),
            "exit_layer": (1, 1, np.int64, True),
        }
        for name, (count, elements, dtype, on_host) in plan.items():
            nbytes, what = elements * np.dtype(dtype).itemsize, f"{name} of {tokens} tokens in {batch} rows"
            self._device[name] = [executor.memory.allocate(nbytes, what) for _ in range(count)]
            if on_host:
                self._host[name] = executor.memory.pinned((elements,), dtype)
        self._capacity = (batch, tokens)

    def reserve_pools(self, tokens: int) -> None:
        """Make room for this many tokens that wait before each stage."""
        if tokens <= self._pool_tokens:
            return
        self.worker.stream.synchronize()
        self._pool_tokens = 0
        self._pools.clear()  # before the larger ones are made
        executor = self._executor
        nbytes = tokens * np.dtype(executor.hidden_dtype).itemsize
        self._pools += [
            (
                executor.memory.allocate(nbytes * executor.hidden_size, f"{tokens} tokens that wait before a stage"),
                executor.memory.allocate(nbytes, f"the mask of {tokens} tokens"),
            )
            for _ in range(executor.stages)
        ]
        self._pool_tokens = tokens

    def pool(self, stage: int) -> Places:
        """Return the addresses of the hidden states and the mask that wait before a stage."""
        hidden_states, mask = self._pools[stage]
        return int(hidden_states.address), int(mask.address)

    def address(self, name: str, side: int = 0) -> int:
        """Return a buffer's address on the device."""
        return int(self._device[name][side].address)

    def host(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a buffer's counterpart on the host, in this shape."""
        return self._host[name][: int(np.prod(shape))].reshape(shape)

    def start_embeddings(self, ids: Sequence[NDArray[np.int64]], shape: tuple[int, int], to: Places) -> None:
        """Copy ids to the device and start the embeddings there.

        :param ids: int64 [rows, length] each, in the order of `fastbert.runtime.tensors.TOKENS`.
        :param shape: (batch, sequence) to run in, padding included.
        """
        rows, length = ids[0].shape
        self.worker.stream.synchronize()  # a run that ended in an error may still read the buffers
        for name, array in zip(tensors.TOKENS, ids, strict=True):
            padded = self.host(name, shape)
            padded[:] = 0  # id 0 of a token that the mask hides
            padded[:rows, :length] = array
            self.worker.stream.to_device(self.address(name), padded)
        inputs = {name: self.address(name) for name in tensors.TOKENS}
        outputs = dict(zip((tensors.HIDDEN_STATES, tensors.MASK), to, strict=True))
        self.worker.enqueue("embeddings", dict.fromkeys(tensors.TOKENS, shape), {**inputs, **outputs})

    def run_row(
        self, input_ids: NDArray[np.int64], token_type_ids: NDArray[np.int64], speed: NDArray[np.float32]
    ) -> list[NDArray[Any]]:
        """Run a single row until an exit answers, and wait for the answer.

        Arguments and result as in `fastbert.runtime.chain.RunRow`.
        """
        stream = self.worker.stream
        given: tuple[NDArray[Any], ...] = (input_ids, token_type_ids, speed)
        arrays = dict(zip(tensors.ROW_INPUTS, given, strict=True))
        stream.synchronize()  # a run that ended in an error may still read the buffers
        for name, array in arrays.items():
            pinned = self.host(name, array.shape)
            pinned[:] = array
            stream.to_device(self.address(name), pinned)
        addresses = {name: self.address(name) for name in (*tensors.ROW_INPUTS, *tensors.ROW_OUTPUTS)}
        self.worker.enqueue("row", {name: array.shape for name, array in arrays.items()}, addresses)
        shapes = ((1, self._executor.classes), (1,), (1,))
        answer = [self.host(name, shape) for name, shape in zip(tensors.ROW_OUTPUTS, shapes, strict=True)]
        for name, array in zip(tensors.ROW_OUTPUTS, answer, strict=True):
            stream.to_host(array, self.address(name))
        stream.synchronize()
        return [array.copy() for array in answer]

    def start_stage(self, number: int, shape: tuple[int, int], source: Places, next_hidden_states: int) -> None:
        """Start a stage, and the copy of its uncertainty to the host."""
        hidden_states, mask = source
        addresses = {
            tensors.HIDDEN_STATES: hidden_states,
            tensors.MASK: mask,
            tensors.NEXT_HIDDEN_STATES: next_hidden_states,
            tensors.LOGITS: self.address("logits"),
            tensors.UNCERTAINTY: self.address("uncertainty"),
        }
        self.worker.enqueue(number, self._stage_shapes(shape), addresses)
        self.worker.stream.to_host(self.host("uncertainty", shape[:1]), self.address("uncertainty"))

    def start_compaction(
        self, rows: NDArray[np.int64], count: int, shape: tuple[int, int], source: Places, to: Places
    ) -> None:
        """Start to gather rows on the device, filled up to ``count`` with the first of them."""
        index = self.host("rows", (count,))
        index[:] = rows[0]
        index[: len(rows)] = rows
        self.worker.stream.to_device(self.address("rows"), index)
        names = (tensors.HIDDEN_STATES, tensors.MASK, tensors.KEPT_HIDDEN_STATES, tensors.KEPT_MASK)
        addresses = {**dict(zip(names, (*source, *to), strict=True)), tensors.ROWS: self.address("rows")}
        self.worker.enqueue("compaction", {**self._stage_shapes(shape), tensors.ROWS: (count,)}, addresses)

    def logits(self, rows: int) -> NDArray[np.float32]:
        """Copy the logits of the last stage to the host, and wait: float32 [rows, classes]."""
        logits = self.host("logits", (rows, self._executor.classes))
        self.worker.stream.to_host(logits, self.address("logits"))
        self.worker.stream.synchronize()
        return logits.copy()

    def _stage_shapes(self, shape: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        batch, sequence = shape
        return {
            tensors.HIDDEN_STATES: (batch, sequence, self._executor.hidden_size),
            tensors.MASK: (batch, 1, 1, sequence),
        }

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
        self.worker.replay((self._capacity, self._pool_tokens, key), enqueue)
