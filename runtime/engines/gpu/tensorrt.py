"""The stages of a variant as TensorRT 11 engines.

A plan runs only on the TensorRT version and the GPU architecture that it was built for, so both are compared before a
plan is read. Each thread has its own contexts, which run one after another and share one block of memory.
"""

import contextlib
import importlib
import logging
import threading
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.runtime.engines.gpu.cuda import Gpu, open_gpu
from fastbert.runtime.engines.gpu.device_chain import DeviceChain
from fastbert.runtime.engines.gpu.lane import Shapes
from fastbert.runtime.engines.gpu.profiles import Buckets
from fastbert.runtime.errors import BundleError, EngineError, MissingDependencyError
from fastbert.runtime.manifest import Variant
from fastbert.runtime.tensors import HIDDEN_STATES, LOGITS, ROWS, TOKENS

_MAJOR = 11
_log = logging.getLogger("fastbert.tensorrt")


def load(bundle: Path, variant: Variant, *, cuda_graphs: bool = False) -> DeviceChain:
    """Read the engines.

    :param cuda_graphs: replay the work between two exits as one CUDA graph; batches are padded to their bucket.
    :raises EngineError: no GPU, no TensorRT, too little memory, or the engines were built for another version
        or GPU architecture.
    :raises BundleError: an engine cannot be read.
    """
    trt = require_tensorrt()
    gpu = open_gpu("tensorrt")
    _require_match(bundle, variant, version=trt.__version__, sm=gpu.sm)
    return DeviceChain(_Stages(trt, gpu, bundle, variant), graphs=cuda_graphs)


def require_tensorrt() -> Any:
    """Import TensorRT.

    :raises MissingDependencyError: it is not installed.
    :raises EngineError: another major version is installed.
    """
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError as error:
        raise MissingDependencyError("tensorrt", "tensorrt") from error
    if trt.__version__.split(".")[0] != str(_MAJOR):
        raise EngineError(
            f"TensorRT {trt.__version__} is installed; this fastbert uses TensorRT {_MAJOR}, which takes the "
            "precision from the graph. Install it with: pip install 'fastbert-deploy[tensorrt]'"
        )
    return trt


def _rebuild_command(bundle: Path, variant: Variant) -> str:
    """Return the command that builds a variant's engines again."""
    build = variant.tensorrt_build
    batches = ",".join(map(str, sorted({bucket.max_batch for bucket in build.profiles})))
    sequences = ",".join(map(str, sorted({bucket.sequence for bucket in build.profiles})))
    return f"fastbert build {bundle} --variant {build.source} --batch {batches} --sequence {sequences} --overwrite"


def _require_match(bundle: Path, variant: Variant, *, version: str, sm: str) -> None:
    build = variant.tensorrt_build
    for what, built, found in (("TensorRT", build.version, version), ("GPU architecture", build.sm, sm)):
        if built != found:
            raise EngineError(
                f"The engines of {variant.name} were built for {what} {built}; here it is {found}, which cannot run "
                f"them. Build them here: {_rebuild_command(bundle, variant)}"
            )


class Log:
    """TensorRT's messages: warnings go to Python's log, errors are kept for the errors raised here.

    :param trt_logger: the logger that TensorRT's objects take.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.trt_logger: Any = None

    def take_errors(self) -> str:
        """Return the errors since the last call, as one text."""
        text = " ".join(self.errors[-5:]) or "it gave no reason"
        self.errors.clear()
        return text


def make_log(trt: Any) -> Log:
    """Return a log. Keep it as long as any object that uses its logger."""
    log = Log()

    class TrtLogger(trt.ILogger):  # type: ignore[misc]  # TensorRT ships no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                log.errors.append(msg)
            elif severity == trt.ILogger.Severity.WARNING:
                _log.warning("TensorRT: %s", msg)

    log.trt_logger = TrtLogger()
    return log


class Engines:
    """Engines read from plans. They hold the weights, once for all threads.

    :param files: graph -> its plan.
    :raises BundleError: a plan cannot be read.
    """

    def __init__(self, trt: Any, gpu: Gpu, buckets: Buckets, files: Mapping[str | int, Path]) -> None:
        self.trt = trt
        self.memory = gpu
        self.buckets = buckets
        self.log = make_log(trt)
        self.runtime = trt.Runtime(self.log.trt_logger)
        self.engines = {graph: self._read(path) for graph, path in files.items()}
        self.lock = threading.Lock()  # held while a context is created
        self.turn: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()  # each thread has its own stream

    def worker(self) -> "_Contexts":
        """Return the contexts of a new thread."""
        return _Contexts(self)

    def fit(self, batch: int, sequence: int, *, pad_batch: bool) -> tuple[int, int]:
        """Return the shape to run in: the sequence padded to its bucket, with ``pad_batch`` the batch too."""
        bucket = self.buckets.all[self.buckets.find(batch, sequence)]
        return bucket.max_batch if pad_batch else batch, bucket.sequence

    def _read(self, path: Path) -> Any:
        engine = self.runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            free, total = self.memory.memory
            raise BundleError(
                f"TensorRT {self.trt.__version__} could not read {path} ({path.stat().st_size / 1e6:.1f} MB; "
                f"{free / 1e6:.0f} of {total / 1e6:.0f} MB of device memory are free): {self.log.take_errors()}"
            )
        return engine


class _Stages(Engines):
    """The executor of a variant (`fastbert.runtime.engines.gpu.device_chain.Executor`)."""

    def __init__(self, trt: Any, gpu: Gpu, bundle: Path, variant: Variant) -> None:
        files: dict[str | int, str] = {"embeddings": variant.embeddings, "compaction": str(variant.compaction)}
        files.update(enumerate(variant.stages))
        buckets = Buckets(variant.tensorrt_build.profiles)
        super().__init__(trt, gpu, buckets, {graph: bundle / name for graph, name in files.items()})
        first = self.engines[0]
        self.stages = len(variant.stages)
        self.hidden_size = int(first.get_tensor_shape(HIDDEN_STATES)[-1])
        self.hidden_dtype = np.dtype(trt.nptype(first.get_tensor_dtype(HIDDEN_STATES)))
        self.classes = int(first.get_tensor_shape(LOGITS)[-1])
        self.capacity = (buckets.max_batch, buckets.max_sequence)
        self.max_batch = buckets.max_batch


class _Contexts:
    """One thread's contexts: one per engine and profile, made when first needed."""

    def __init__(self, engines: Engines) -> None:
        self._owner = engines
        self.stream = engines.memory.stream()
        nbytes = max(engine.device_memory_size_v2 for engine in engines.engines.values())
        self._activations = engines.memory.allocate(nbytes, "activations")
        self._contexts: dict[tuple[str | int, int], Any] = {}
        self._bound: dict[tuple[str | int, int], Any] = {}

    def enqueue(self, graph: str | int, shapes: Shapes, addresses: Mapping[str, int]) -> None:
        """Start an engine."""
        rows = shapes[ROWS] if ROWS in shapes else next(iter(shapes.values()))
        sequence = (shapes[TOKENS[0]] if TOKENS[0] in shapes else shapes[HIDDEN_STATES])[1]
        key = (graph, self._owner.buckets.find(rows[0], sequence))
        context = self._contexts[key] if key in self._contexts else self._make(key)
        bound_shapes, bound_addresses = self._bound.get(key, ({}, {}))
        for name, shape in shapes.items():
            if bound_shapes.get(name) != shape:
                self._check(context.set_input_shape(name, shape), key, f"{name} of shape {list(shape)}")
        for name, address in addresses.items():
            if bound_addresses.get(name) != address:
                self._check(context.set_tensor_address(name, address), key, f"the address of {name}")
        self._bound[key] = (shapes, addresses)
        self._check(context.execute_async_v3(self.stream.handle), key, "a run")

    def replay(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Capture the enqueued work as one CUDA graph, or replay it."""
        self.stream.replay(key, enqueue)

    def _make(self, key: tuple[str | int, int]) -> Any:
        graph, profile = key
        strategy = self._owner.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with self._owner.lock:
            context = self._owner.engines[graph].create_execution_context(strategy)
        self._check(context is not None, key, "a context")
        context.set_device_memory(self._activations.address, self._activations.nbytes)
        self._check(context.set_optimization_profile_async(profile, self.stream.handle), key, f"profile {profile}")
        self.stream.synchronize()  # a change of profile may copy
        self._contexts[key] = context
        return context

    def _check(self, done: bool, key: tuple[str | int, int], what: str) -> None:
        if not done:
            raise EngineError(f"TensorRT refused {what} for engine {key[0]!r}: {self._owner.log.take_errors()}")
