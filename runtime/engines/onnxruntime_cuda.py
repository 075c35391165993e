"""Stages as ONNX Runtime sessions on a GPU: its CUDA provider, with every tensor bound where it is on the device.

All sessions share one stream, and each waits for it at its end. Told not to wait, ONNX Runtime keeps the pinned buffers
of every run, and frees them at the session's end from a callback, which CUDA refuses: the process ends (1.31, H200;
``disable_synchronize_execution_providers``).

The same engine on the CPU provider checks the graphs of a GPU variant on a machine without a GPU.

ONNX Runtime's TensorRT provider is no way to TensorRT 11: its wheels link TensorRT 10 (onnxruntime#32278).
"""

import contextlib
import io
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbert.runtime.engines.cuda import Buffer, host_array, open_gpu
from fastbert.runtime.engines.device_chain import DeviceChain, Shapes
from fastbert.runtime.errors import BundleError, EngineError, MissingDependencyError, UsageError
from fastbert.runtime.manifest import Variant

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
    :param provider: `CUDA`, or `CPU` for a check of the graphs.
    :raises EngineError: there is no GPU, or this ONNX Runtime has no CUDA provider.
    :raises UsageError: ``cuda_graphs``; or the variant drops samples on the host.
    :raises BundleError: an engine file cannot be loaded.
    """
    if cuda_graphs:
        raise UsageError(
            "cuda_graphs needs device='tensorrt': ONNX Runtime cannot be captured by its caller (onnxruntime#32081)."
        )
    return DeviceChain(_Stages(bundle, variant, provider), exit_every=exit_every)


def require_onnxruntime(provider: str) -> Any:
    """Import ONNX Runtime, which must have a provider.

    :raises MissingDependencyError: it is not installed.
    :raises EngineError: it has no such provider; which package has it.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "gpu") from error
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
    :raises BundleError: one cannot be loaded.
    :raises EngineError: there is no GPU, or one cannot run on it.
    """

    max_batch = None
    capacity = (1, 128)  # of tokens; grows

    def __init__(self, files: Mapping[str | int, Path], provider: str) -> None:
        ort = require_onnxruntime(provider)
        self.memory: Any = open_gpu("gpu") if provider == CUDA else _HostMemory()
        self._problem = _load_cuda(ort) if provider == CUDA else ""
        self.stream = self.memory.stream()
        self.device = "cuda" if provider == CUDA else "cpu"
        self.lock = threading.Lock()  # one stream: what threads enqueue must not interleave within a session
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
        """Return the shape as it is: sessions take any."""
        return batch, sequence

    def _session(self, ort: Any, path: Path, provider: str, graph: str | int) -> Any:
        options = ort.SessionOptions()
        settings = {}
        if provider == CUDA:
            if isinstance(graph, int) or graph == "compaction":  # graphs of ids have a length computed on the host
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            settings = {"user_compute_stream": str(self.stream.handle), "enable_skip_layer_norm_strict_mode": "1"}
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
    """The executor of a variant (`fastbert.runtime.engines.device_chain.Executor`)."""

    def __init__(self, bundle: Path, variant: Variant, provider: str) -> None:
        if variant.compaction is None:
            raise UsageError(f"The variant {variant.name!r} drops samples on the host; it is for {variant.devices}.")
        files: dict[str | int, str] = {"embeddings": variant.embeddings, "compaction": variant.compaction}
        files.update(enumerate(variant.stages))
        super().__init__({graph: bundle / name for graph, name in files.items()}, provider)
        self.stages = len(variant.stages)
        self.hidden_dtype = np.dtype(self.types[0]["hidden_states"])
        self.hidden_size = int(self.sessions[0].get_inputs()[0].shape[-1])
        self.classes = int(self.sessions[0].get_outputs()[1].shape[-1])


class _Bindings:
    """One thread's I/O bindings, made once for each graph and bound again where a shape or an address changed."""

    def __init__(self, sessions: Sessions) -> None:
        self._owner = sessions
        self.stream = sessions.stream
        self._bindings = {graph: session.io_binding() for graph, session in sessions.sessions.items()}
        _clear_before(self, self._bindings, sessions.stream)
        self._bound: dict[str | int, Any] = {}

    def enqueue(self, graph: str | int, shapes: Shapes, addresses: Mapping[str, int]) -> None:
        """Start a session's run."""
        owner, binding = self._owner, self._bindings[graph]
        if self._bound.get(graph) != (shapes, addresses):
            session = owner.sessions[graph]
            sizes: dict[Any, int] = {}  # of the dynamic dimensions, by their names
            for value in session.get_inputs():
                sizes.update(zip(value.shape, shapes[value.name], strict=True))
                self._bind(binding.bind_input, graph, value.name, shapes[value.name], addresses)
            for value in session.get_outputs():
                self._bind(
                    binding.bind_output, graph, value.name, tuple(sizes.get(d, d) for d in value.shape), addresses
                )
            self._bound[graph] = (shapes, addresses)
        try:
            with owner.lock:
                owner.sessions[graph].run_with_iobinding(binding)
        except Exception as error:  # of onnxruntime's own classes, which have no common one
            raise EngineError(f"onnxruntime could not run {graph!r} on {shapes}: {error}") from error

    def _bind(
        self, bind: Any, graph: str | int, name: str, shape: tuple[int, ...], addresses: Mapping[str, int]
    ) -> None:
        bind(name, self._owner.device, 0, self._owner.types[graph][name], list(shape), addresses[name])


class _HostMemory:
    """`fastbert.runtime.engines.cuda.Gpu` for the CPU provider: memory of the host, copied at once."""

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
