"""The stages of a variant as ONNX Runtime sessions on a GPU, with every tensor bound at its address on the device.

All sessions share one stream, and each waits for it when it ends. Told not to wait
(``disable_synchronize_execution_providers``), ONNX Runtime 1.31 keeps the pinned buffers of every run and frees them in
a callback when the session ends, which CUDA refuses: the process ends (not reported upstream).

CUDA graphs are captured by ONNX Runtime, as its caller cannot (onnxruntime#32081). A run names a graph by a number
(``gpu_graph_id``): its first run captures, later runs replay it with the shapes and addresses of the first. So a number
belongs to one session, shape and set of addresses, and is used once. A graph belongs to the thread that captured it,
and stays until the session ends. During a capture nothing else in the process may allocate or free on the device.

ONNX Runtime's TensorRT provider cannot run TensorRT 11: its wheels link TensorRT 10 (onnxruntime#32278).
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

from fastbert.runtime.batching.micro_batches import padded_size
from fastbert.runtime.engines.gpu.cuda import open_gpu
from fastbert.runtime.engines.gpu.device_chain import DeviceChain
from fastbert.runtime.engines.gpu.host_device import HostDevice
from fastbert.runtime.engines.gpu.lane import Shapes
from fastbert.runtime.engines.telemetry import warn_of_telemetry
from fastbert.runtime.errors import BundleError, EngineError, MissingDependencyError, UsageError
from fastbert.runtime.manifest import Variant, read_manifest
from fastbert.runtime.tensors import HIDDEN_STATES

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_TYPES = {"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(int64)": np.int64}


def load(bundle: Path, variant: Variant, *, cuda_graphs: bool = False, provider: str = CUDA) -> DeviceChain:
    """Make the sessions.

    :param cuda_graphs: replay each session as one CUDA graph; batches and sequences are padded to one of a few sizes.
    :param provider: `CUDA`, or `CPU` to check the graphs on a machine without a GPU.
    :raises EngineError: no GPU, or this ONNX Runtime has no CUDA provider.
    :raises UsageError: the variant is for the CPU.
    :raises BundleError: an engine file cannot be loaded.
    """
    return DeviceChain(_Stages(bundle, variant, provider, cuda_graphs=cuda_graphs), graphs=cuda_graphs)


def require_onnxruntime(provider: str) -> Any:
    """Import ONNX Runtime, which must have a provider.

    :raises MissingDependencyError: it is not installed.
    :raises EngineError: it lacks the provider; the message names the package that has it.
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
            "That is the package for the CPU, and only one of the two can be installed: pip uninstall onnxruntime, "
            "then pip install 'fastbert-deploy[gpu]'."
        )
    return ort


class Sessions:
    """A session per graph, on one stream that all threads share.

    :param files: graph -> its file.
    :param provider: `CUDA` or `CPU`.
    :param max_positions: longest sequence, in tokens, that padding may lead to.
    :param cuda_graphs: replay runs as CUDA graphs.
    :raises BundleError: a file cannot be loaded.
    :raises EngineError: no GPU, or a session cannot run on it.
    """

    max_batch = None

    def __init__(
        self, files: Mapping[str | int, Path], provider: str, *, max_positions: int, cuda_graphs: bool = False
    ) -> None:
        ort = require_onnxruntime(provider)
        self.memory: Any = open_gpu("gpu") if provider == CUDA else HostDevice()
        self._problem = _load_cuda(ort) if provider == CUDA else ""
        self.stream = self.memory.stream()
        self.device = "cuda" if provider == CUDA else "cpu"
        # work of two threads must not interleave within a session, and during a capture others may not even allocate
        self.turn: contextlib.AbstractContextManager[Any] = threading.Lock()
        self.graph_numbers = itertools.count(1) if cuda_graphs else None
        self._max_positions = max_positions
        # buffers that grow lose what was captured, so with graphs they have room for the longest row from the start
        self.capacity = (1, max_positions if cuda_graphs else 128)
        self.sessions = {graph: self._session(ort, path, provider, graph) for graph, path in files.items()}
        _clear_before(self, self.sessions, self.stream)
        self.types = {
            graph: {value.name: _TYPES[value.type] for value in (*session.get_inputs(), *session.get_outputs())}
            for graph, session in self.sessions.items()
        }

    def worker(self) -> "_Bindings":
        """Return the bindings of a new thread."""
        return _Bindings(self)

    def fit(self, batch: int, sequence: int, *, pad_batch: bool) -> tuple[int, int]:
        """Return the shape unchanged, as sessions take any; with ``pad_batch`` one of a few, as each needs graphs."""
        if not pad_batch:
            return batch, sequence
        return padded_size(batch), max(sequence, min(padded_size(max(sequence, 16)), self._max_positions))

    def _session(self, ort: Any, path: Path, provider: str, graph: str | int) -> Any:
        options = ort.SessionOptions()
        settings = {}
        if provider == CUDA:
            if isinstance(graph, int) or graph == "compaction":  # embeddings compute a length on the host
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            settings = {
                "user_compute_stream": str(self.stream.handle),
                "enable_skip_layer_norm_strict_mode": "1",
                "use_tf32": "0",  # on by default: products of float32 with 10 bits of mantissa (onnxruntime#19357)
                "enable_cuda_graph": str(int(self.graph_numbers is not None)),
            }
        try:
            session = ort.InferenceSession(str(path), options, providers=[(provider, settings)], enable_fallback=0)
        except Exception as error:
            why = f"{error} {self._problem}".rstrip()
            raise BundleError(f"{path} could not be loaded by onnxruntime {ort.__version__}: {why}") from error
        if session.get_providers()[0] != provider:
            raise EngineError(
                f"{path} should run on {provider} but runs on {session.get_providers()[0]}: the CUDA or cuDNN "
                "libraries that it needs were not found. Install them: pip install 'fastbert-deploy[gpu]'. "
                f"{self._problem}".rstrip()
            )
        return session


def _clear_before(owner: Any, held: dict[Any, Any], stream: Any) -> None:
    """Release sessions, or bindings that hold them, when their owner is collected, and the stream only after them.

    A session uses its stream once more when it ends (not reported upstream). The finalizer holds the stream, so the
    order is the same when the garbage collector takes a whole cycle of objects in any order.
    """
    weakref.finalize(owner, _clear, held, stream).atexit = False


def _clear(held: dict[Any, Any], stream: Any) -> None:
    held.clear()


_loading = threading.Lock()


def _load_cuda(ort: Any) -> str:
    """Load CUDA and cuDNN from the packages that the extra [gpu] installs, where ONNX Runtime does not look by itself.

    :returns: what ONNX Runtime prints about libraries that it did not find; they may not be needed.
    """
    with _loading, contextlib.redirect_stdout(io.StringIO()) as said:
        ort.preload_dlls()
    return " ".join(said.getvalue().split())


class _Stages(Sessions):
    """The executor of a variant (`fastbert.runtime.engines.gpu.device_chain.Executor`)."""

    has_row = False  # ONNX Runtime would wait for each condition on the host

    def __init__(self, bundle: Path, variant: Variant, provider: str, *, cuda_graphs: bool) -> None:
        if variant.compaction is None:
            raise UsageError(
                f"The variant {variant.name!r} was exported for {', '.join(variant.devices)} and cannot run on 'cuda'. "
                "Export a variant for it: fastbert export MODEL --output DIR --precision fp16"
            )
        files: dict[str | int, str] = {"embeddings": variant.embeddings, "compaction": variant.compaction}
        files.update(enumerate(variant.stages))
        super().__init__(
            {graph: bundle / name for graph, name in files.items()},
            provider,
            max_positions=read_manifest(bundle).max_positions,
            cuda_graphs=cuda_graphs,
        )
        self.stages = len(variant.stages)
        self.hidden_dtype = np.dtype(self.types[0][HIDDEN_STATES])
        self.hidden_size = int(self.sessions[0].get_inputs()[0].shape[-1])
        self.classes = int(self.sessions[0].get_outputs()[1].shape[-1])


class _Bindings:
    """One thread's I/O bindings: one per graph, bound again when a shape or an address changes.

    With CUDA graphs: one per graph, shape and set of addresses, with the run options that name its CUDA graph.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._owner = sessions
        self.stream = sessions.stream
        self._bindings: dict[Any, Any] = {}  # with run options; None without CUDA graphs
        _clear_before(self, self._bindings, sessions.stream)
        self._bound: dict[Any, Any] = {}

    def enqueue(self, graph: str | int, shapes: Shapes, addresses: Mapping[str, int]) -> None:
        """Run a session, and wait for it."""
        numbers, session = self._owner.graph_numbers, self._owner.sessions[graph]
        key = graph if numbers is None else (graph, *shapes.items(), *addresses.items())
        if key not in self._bindings:
            self._bindings[key] = session.io_binding(), None if numbers is None else _run_options(next(numbers))
        binding, options = self._bindings[key]
        if self._bound.get(key) != (shapes, addresses):
            self._bind_all(binding, graph, shapes, addresses)
            self._bound[key] = (shapes, addresses)
        try:
            session.run_with_iobinding(binding, options)
        except Exception as error:  # onnxruntime's errors have no common class
            raise EngineError(f"onnxruntime could not run {graph!r} on {shapes}: {error}") from error

    def replay(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Enqueue: each session replays its own graph."""
        enqueue()

    def _bind_all(self, binding: Any, graph: str | int, shapes: Shapes, addresses: Mapping[str, int]) -> None:
        session = self._owner.sessions[graph]
        sizes: dict[Any, int] = {}  # name of a dynamic dimension -> its size
        for value in session.get_inputs():
            sizes.update(zip(value.shape, shapes[value.name], strict=True))
            self._bind(binding.bind_input, graph, value.name, shapes[value.name], addresses)
        for value in session.get_outputs():
            self._bind(binding.bind_output, graph, value.name, tuple(sizes.get(d, d) for d in value.shape), addresses)

    def _bind(
        self, bind: Any, graph: str | int, name: str, shape: tuple[int, ...], addresses: Mapping[str, int]
    ) -> None:
        bind(name, self._owner.device, 0, self._owner.types[graph][name], list(shape), addresses[name])


def _run_options(number: int) -> Any:
    """Return run options that name a CUDA graph."""
    import onnxruntime as ort

    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options
