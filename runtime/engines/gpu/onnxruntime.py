"""Stages as ONNX Runtime sessions on a GPU: its CUDA provider, with every tensor bound where it is on the device.

All sessions share one stream, and each waits for it at its end. Told not to wait, ONNX Runtime keeps the pinned buffers
of every run, and frees them at the session's end from a callback, which CUDA refuses: the process ends (1.31, H200;
``disable_synchronize_execution_providers``).

CUDA graphs are ONNX Runtime's own, as its caller cannot capture it (onnxruntime#32081): a run names a graph by a number
(``gpu_graph_id``); the first one with a number captures, later ones replay, whatever is bound. So a number stands for
one session, shape and set of addresses, and is never used again. Graphs belong to the thread that captured them:
another one captures anew, and what an ended one captured stays until the session ends. While one captures, nothing else
in the process may allocate or free on the device.

The same engine on the CPU provider checks the graphs of a GPU variant on a machine without a GPU.

ONNX Runtime's TensorRT provider is no way to TensorRT 11: its wheels link TensorRT 10 (onnxruntime#32278).
"""

import contextlib
import io
import itertools
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbert.runtime.engines.gpu.cuda import Buffer, host_array, open_gpu
from fastbert.runtime.engines.gpu.device_chain import DeviceChain, Shapes
from fastbert.runtime.engines.telemetry import warn_of_telemetry
from fastbert.runtime.errors import BundleError, EngineError, MissingDependencyError, UsageError
from fastbert.runtime.manifest import Variant, read_manifest

__all__ = ["CPU", "CUDA", "Sessions", "load", "require_onnxruntime"]

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_TYPES = {"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(int64)": np.int64}


def load(
    bundle: Path,
    variant: Variant,
    *,
    threads: int | None = None,
    thread_pool: str = "separate",
    exit_every: int = 1,
    cuda_graphs: bool = False,
    provider: str = CUDA,
) -> DeviceChain:
    """Make the sessions. ``threads`` and ``thread_pool`` mean nothing on a GPU.

    :param exit_every: see `DeviceChain`.
    :param cuda_graphs: replay each session as one CUDA graph; batches and sequences are padded to one of few sizes.
    :param provider: `CUDA`, or `CPU` for a check of the graphs.
    :raises EngineError: there is no GPU, or this ONNX Runtime has no CUDA provider.
    :raises UsageError: the variant drops samples on the host.
    :raises BundleError: an engine file cannot be loaded.
    """
    stages = _Stages(bundle, variant, provider, cuda_graphs=cuda_graphs)
    return DeviceChain(stages, exit_every=exit_every, graphs=cuda_graphs)


def require_onnxruntime(provider: str) -> Any:
    """Import ONNX Runtime, which must have a provider.

    :raises MissingDependencyError: it is not installed.
    :raises EngineError: it has no such provider; which package has it.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "gpu") from error
    warn_of_telemetry()
    found = ort.get_available_providers()
    if provider not in found:
        raise EngineError(
            f"device='cuda' needs {provider}; the onnxruntime {ort.__version__} installed here has {', '.join(found)}. "
            "It is the package for the CPU, and the two exclude each other: pip uninstall onnxruntime, then "
            "pip install 'fastbert-deploy[gpu]'."
        )
    return ort


class Sessions:
    """Graphs read from files, on one stream that all threads share.

    :param files: graph -> its file.
    :param provider: `CUDA` or `CPU`.
    :param max_positions: of the model: longest sequence that padding may lead to.
    :param cuda_graphs: replay runs as CUDA graphs.
    :param turn: what a thread holds while it uses the stream: what others enqueue must not interleave within a session,
        and while one captures they may neither enqueue nor allocate.
    :raises BundleError: one cannot be loaded.
    :raises EngineError: there is no GPU, or one cannot run on it.
    """

    max_batch = None

    def __init__(
        self, files: Mapping[str | int, Path], provider: str, *, max_positions: int, cuda_graphs: bool = False
    ) -> None:
        ort = require_onnxruntime(provider)
        self.memory: Any = open_gpu("gpu") if provider == CUDA else _HostMemory()
        self._problem = _load_cuda(ort) if provider == CUDA else ""
        self.stream = self.memory.stream()
        self.device = "cuda" if provider == CUDA else "cpu"
        self.turn: contextlib.AbstractContextManager[Any] = threading.Lock()
        self.graph_numbers = itertools.count(1) if cuda_graphs else None
        self._max_positions = max_positions
        # of rows and tokens; where buffers grow, what was captured is lost
        self.capacity = (1, max_positions if cuda_graphs else 128)
        self.sessions = {graph: self._session(ort, path, provider, graph) for graph, path in files.items()}
        _clear_before(self, self.sessions, self.stream)
        self.types = {
            graph: {value.name: _TYPES[value.type] for value in (*session.get_inputs(), *session.get_outputs())}
            for graph, session in self.sessions.items()
        }

    def worker(self) -> "_Bindings":
        """Return what a thread runs sessions with."""
        return _Bindings(self)

    def fit(self, batch: int, sequence: int, *, pad_batch: bool) -> tuple[int, int]:
        """Return the shape as it is, as sessions take any; with ``pad_batch`` one of few, as each has its graphs."""
        if not pad_batch:
            return batch, sequence
        return _next_size(batch), max(sequence, min(_next_size(max(sequence, 16)), self._max_positions))

    def _session(self, ort: Any, path: Path, provider: str, graph: str | int) -> Any:
        options = ort.SessionOptions()
        settings = {}
        if provider == CUDA:
            if isinstance(graph, int) or graph == "compaction":  # graphs of ids have a length computed on the host
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            settings = {
                "user_compute_stream": str(self.stream.handle),
                "enable_skip_layer_norm_strict_mode": "1",
                "enable_cuda_graph": str(int(self.graph_numbers is not None)),
            }
        try:
            session = ort.InferenceSession(str(path), options, providers=[(provider, settings)], enable_fallback=0)
        except Exception as error:
            why = f"{error} {self._problem}".rstrip()
            raise BundleError(f"{path} could not be loaded by onnxruntime {ort.__version__}: {why}") from error
        if session.get_providers()[0] != provider:
            raise EngineError(
                f"{path} was asked to run on {provider} but runs on {session.get_providers()[0]}: the CUDA or cuDNN "
                "libraries that onnxruntime-gpu needs were not found. pip install 'fastbert-deploy[gpu]' brings them. "
                f"{self._problem}".rstrip()
            )
        return session


def _next_size(number: int) -> int:
    """Return the least of 1, 2, 3, 4, 6, 8, 12, 16, ... that is not below a number: at most half as much again."""
    power = 1 << (number - 1).bit_length()
    return power * 3 // 4 if power >= 4 and number <= power * 3 // 4 else power


def _clear_before(owner: Any, held: dict[Any, Any], stream: Any) -> None:
    """Let go of sessions, or of bindings that hold them, when their owner goes, and of the stream only then.

    A session uses its stream once more at its end. The finalizer holds the stream, so that the order does not depend
    on who asks for it: the garbage collector, which takes a cycle's objects in an order of its own, included.
    """
    weakref.finalize(owner, _clear, held, stream).atexit = False


def _clear(held: dict[Any, Any], stream: Any) -> None:
    held.clear()


_loading = threading.Lock()


def _load_cuda(ort: Any) -> str:
    """Load CUDA and cuDNN from the packages that [gpu] brings: ONNX Runtime finds them there only when told to look.

    :returns: what it says of those that it could not find; it prints, and a missing one may not be needed.
    """
    with _loading, contextlib.redirect_stdout(io.StringIO()) as said:
        ort.preload_dlls()
    return " ".join(said.getvalue().split())


class _Stages(Sessions):
    """The executor of a variant (`fastbert.runtime.engines.gpu.device_chain.Executor`)."""

    def __init__(self, bundle: Path, variant: Variant, provider: str, *, cuda_graphs: bool) -> None:
        if variant.compaction is None:
            raise UsageError(f"The variant {variant.name!r} drops samples on the host; it is for {variant.devices}.")
        files: dict[str | int, str] = {"embeddings": variant.embeddings, "compaction": variant.compaction}
        files.update(enumerate(variant.stages))
        super().__init__(
            {graph: bundle / name for graph, name in files.items()},
            provider,
            max_positions=read_manifest(bundle).max_positions,
            cuda_graphs=cuda_graphs,
        )
        self.stages = len(variant.stages)
        self.hidden_dtype = np.dtype(self.types[0]["hidden_states"])
        self.hidden_size = int(self.sessions[0].get_inputs()[0].shape[-1])
        self.classes = int(self.sessions[0].get_outputs()[1].shape[-1])


class _Bindings:
    """One thread's I/O bindings: one for each graph, bound again where a shape or an address changed.

    With CUDA graphs there is one for each shape and set of addresses too, with the run options that name its graph.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._owner = sessions
        self.stream = sessions.stream
        self._bindings: dict[Any, Any] = {}  # with run options; none where a run is not captured
        _clear_before(self, self._bindings, sessions.stream)
        self._bound: dict[Any, Any] = {}

    def enqueue(self, graph: str | int, shapes: Shapes, addresses: Mapping[str, int]) -> None:
        """Run a session, and wait for it."""
        numbers, session = self._owner.graph_numbers, self._owner.sessions[graph]
        key = graph if numbers is None else (graph, *shapes.items(), *addresses.items())
        if key not in self._bindings:
            self._bindings[key] = session.io_binding(), None if numbers is None else _naming_graph(next(numbers))
        binding, options = self._bindings[key]
        if self._bound.get(key) != (shapes, addresses):
            self._bind_all(binding, graph, shapes, addresses)
            self._bound[key] = (shapes, addresses)
        try:
            session.run_with_iobinding(binding, options)
        except Exception as error:  # of onnxruntime's own classes, which have no common one
            raise EngineError(f"onnxruntime could not run {graph!r} on {shapes}: {error}") from error

    def replay(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Enqueue: each session replays its own graph."""
        enqueue()

    def _bind_all(self, binding: Any, graph: str | int, shapes: Shapes, addresses: Mapping[str, int]) -> None:
        session = self._owner.sessions[graph]
        sizes: dict[Any, int] = {}  # of the dynamic dimensions, by their names
        for value in session.get_inputs():
            sizes.update(zip(value.shape, shapes[value.name], strict=True))
            self._bind(binding.bind_input, graph, value.name, shapes[value.name], addresses)
        for value in session.get_outputs():
            self._bind(binding.bind_output, graph, value.name, tuple(sizes.get(d, d) for d in value.shape), addresses)

    def _bind(
        self, bind: Any, graph: str | int, name: str, shape: tuple[int, ...], addresses: Mapping[str, int]
    ) -> None:
        bind(name, self._owner.device, 0, self._owner.types[graph][name], list(shape), addresses[name])


def _naming_graph(number: int) -> Any:
    import onnxruntime as ort

    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


class _HostMemory:
    """`fastbert.runtime.engines.gpu.cuda.Gpu` for the CPU provider: memory of the host, copied at once."""

    def allocate(self, nbytes: int, what: str) -> Buffer:
        array = np.zeros(max(1, nbytes), np.uint8)
        return _HostBuffer(array.ctypes.data, nbytes, array)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def stream(self) -> "_HostStream":
        return _HostStream()


class _HostBuffer(Buffer):
    def __init__(self, address: int, nbytes: int, owner: NDArray[Any]) -> None:
        super().__init__(address, nbytes)
        object.__setattr__(self, "owner", owner)


class _HostStream:
    handle = 0

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        host_array(address, array.shape, array.dtype)[0][:] = array

    def to_host(self, array: NDArray[Any], address: int) -> None:
        array[:] = host_array(address, array.shape, array.dtype)[0]

    def synchronize(self) -> None:
        pass
