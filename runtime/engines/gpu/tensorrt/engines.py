"""The stages of a variant as engines of TensorRT, or of TensorRT for RTX.

A plan runs only on the version of the library that built it, and on the GPUs that it was built for, so both are
compared before a plan is read. Each thread has its own contexts, which run one after another and share one block of
memory.
"""

import contextlib
import shlex
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.runtime.engines.gpu.cuda import Gpu, open_gpu
from fastbert.runtime.engines.gpu.device_chain import DeviceChain
from fastbert.runtime.engines.gpu.lane import Shapes
from fastbert.runtime.engines.gpu.tensorrt.compute_capabilities import covers
from fastbert.runtime.engines.gpu.tensorrt.interrupts import signals_kept
from fastbert.runtime.engines.gpu.tensorrt.libraries import TENSORRT, Library, log_of
from fastbert.runtime.engines.gpu.tensorrt.profiles import Buckets
from fastbert.runtime.engines.gpu.tensorrt.runtime_cache import RuntimeCache
from fastbert.runtime.engines.gpu.tensorrt.runtime_config import make_config
from fastbert.runtime.errors import BundleError, EngineError
from fastbert.runtime.manifest import Variant
from fastbert.runtime.tensors import HIDDEN_STATES, LOGITS, ROWS, TOKENS

_USUAL_LEVEL = 3  # of fastbert build


def load(bundle: Path, variant: Variant, *, cuda_graphs: bool = False) -> DeviceChain:
    """Read the engines of a variant for TensorRT.

    :param cuda_graphs: replay the work between two exits as one CUDA graph; batches are padded to their bucket.
    :raises EngineError: no GPU, no TensorRT, too little memory, or the engines were built for another version or GPU.
    :raises BundleError: an engine cannot be read.
    """
    return load_engines(TENSORRT, bundle, variant, cuda_graphs=cuda_graphs)


def load_engines(
    library: Library,
    bundle: Path,
    variant: Variant,
    *,
    cuda_graphs: bool,
    cache: Callable[[Any, Gpu], Path | None] = lambda trt, gpu: None,
) -> DeviceChain:
    """Read the engines of a variant for one of the two libraries.

    :param cache: (the library's module, GPU) -> file of the runtime cache; None: without one.
    :raises EngineError: as in `load`.
    :raises BundleError: as in `load`.
    """
    trt = library.load()
    _require_version(library, bundle, variant, trt)  # first, as it needs no GPU
    gpu = open_gpu(library.extra)
    _require_gpu(library, bundle, variant, trt, gpu)
    stages = _Stages(library, gpu, bundle, variant, graphs=cuda_graphs, cache=cache(trt, gpu))
    return DeviceChain(stages, graphs=cuda_graphs)


def _build_command(library: Library, bundle: Path, variant: Variant, *options: str) -> str:
    """Return the command that builds a variant's engines again, the same ones."""
    build = variant.tensorrt_build
    batches = ",".join(map(str, sorted({bucket.max_batch for bucket in build.profiles})))
    sequences = ",".join(map(str, sorted({bucket.sequence for bucket in build.profiles})))
    engine = (f"--engine {library.name}",) if library.portable else ()
    sizes = (f"--variant {build.source}", f"--batch {batches}", f"--sequence {sequences}")
    if build.optimization_level != _USUAL_LEVEL:
        options += (f"--level {build.optimization_level}",)
    if (variant.row is not None) != library.single_row:
        options += ("--no-single-row" if library.single_row else "--single-row",)
    return " ".join(("fastbert build", shlex.quote(str(bundle)), *engine, *sizes, *options, "--overwrite"))


def _require_version(library: Library, bundle: Path, variant: Variant, trt: Any) -> None:
    """Check that this version of the library built the engines.

    :raises EngineError: it is another one; the message has the command that builds them.
    """
    build = variant.tensorrt_build
    if build.version != trt.__version__:
        chosen = build.compute_capabilities
        named = library.portable and chosen != library.compute_capabilities and {*chosen} <= {*library.targets(trt)}
        others = (f"--compute-capability {','.join(chosen)}",) if named else ()
        mend = _build_command(library, bundle, variant, *others)
        raise EngineError(
            f"The engines of {variant.name} were built for {library.title} {build.version}; here it is "
            f"{trt.__version__}, which cannot run them. Build them here: {mend}"
        )


def _require_gpu(library: Library, bundle: Path, variant: Variant, trt: Any, gpu: Gpu) -> None:
    """Check that the engines were built for this GPU.

    :raises EngineError: they were not; the message has the command that builds them.
    """
    build, here = variant.tensorrt_build, f"{gpu.name}, compute capability {gpu.compute_capability}"
    if not library.portable and build.sm != gpu.sm:
        raise EngineError(
            f"The engines of {variant.name} were built for GPU architecture {build.sm}; here it is {gpu.sm}, which "
            f"cannot run them. Build them here: {_build_command(library, bundle, variant)}"
        )
    if library.portable and not covers(build.compute_capabilities, gpu.compute_capability):
        require_supported(library, trt, gpu)
        usual = covers(library.compute_capabilities, gpu.compute_capability)
        others = () if usual else (f"--compute-capability {gpu.compute_capability}",)
        mend = _build_command(library, bundle, variant, *others)
        raise EngineError(
            f"The engines of {variant.name} were built for GPUs of compute capability "
            f"{', '.join(build.compute_capabilities)}; this one is {here}. Build them for it, on any machine: {mend}"
        )


def require_supported(library: Library, trt: Any, gpu: Gpu) -> None:
    """Check that a portable library has engines for this GPU at all, which it does not say before it loads one.

    :raises EngineError: it has none.
    """
    supported = (*library.targets(trt), *library.compute_capabilities)
    if not covers(supported, gpu.compute_capability):
        raise EngineError(
            f"{library.title} {trt.__version__} does not support this GPU: {gpu.name} has compute capability "
            f"{gpu.compute_capability}; supported are {', '.join(dict.fromkeys(supported))}. Run ONNX Runtime on it "
            "(device 'cuda'), or build TensorRT's engines on it: fastbert build BUNDLE --engine tensorrt"
        )


class Engines:
    """Engines read from plans. They hold the weights, once for all threads.

    :param files: graph -> its plan.
    :param graphs: whether CUDA graphs will capture their runs.
    :param cache: file of the runtime cache, where the library has one; None: no cache.
    :raises BundleError: a plan cannot be read.
    """

    def __init__(
        self,
        library: Library,
        gpu: Gpu,
        buckets: Buckets,
        files: Mapping[str | int, Path],
        *,
        graphs: bool = False,
        cache: Path | None = None,
    ) -> None:
        self.trt = library.load()
        self.memory = gpu
        self.buckets = buckets
        self.log = log_of(self.trt)
        self._title = f"{library.title} {self.trt.__version__}"
        self._runtime = self.trt.Runtime(self.log.trt_logger)
        self.engines = {graph: self._read(path) for graph, path in files.items()}
        self.cache = None if cache is None else RuntimeCache(cache)
        self.configs = {
            graph: make_config(self.trt, engine, graphs=graphs and graph != "row", cache=self.cache)
            for graph, engine in self.engines.items()
            if library.runtime_config
        }
        self._lock = threading.Lock()  # held while a context is created
        self.turn: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()  # each thread has its own stream

    def worker(self) -> "_Contexts":
        """Return the contexts of a new thread."""
        return _Contexts(self)

    def fit(self, batch: int, sequence: int, *, pad_batch: bool) -> tuple[int, int]:
        """Return the shape to run in: the sequence padded to its bucket, with ``pad_batch`` the batch too."""
        bucket = self.buckets.all[self.buckets.find(batch, sequence)]
        return bucket.max_batch if pad_batch else batch, bucket.sequence

    def context(self, graph: str | int) -> Any:
        """Return a new context, which needs memory from its caller; None: the library refuses."""
        with self._lock:
            engine, config = self.engines[graph], self.configs.get(graph)
            strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            with signals_kept():
                return engine.create_execution_context(strategy if config is None else config)

    def _read(self, path: Path) -> Any:
        self.log.take_errors()  # of others
        plan = path.read_bytes()
        with signals_kept():
            engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            free, total = self.memory.memory
            raise BundleError(
                f"{self._title} could not read {path} ({path.stat().st_size / 1e6:.1f} MB; "
                f"{free / 1e6:.0f} of {total / 1e6:.0f} MB of device memory are free): {self.log.take_errors()}"
            )
        return engine


class _Stages(Engines):
    """The executor of a variant (`fastbert.runtime.engines.gpu.device_chain.Executor`)."""

    def __init__(
        self, library: Library, gpu: Gpu, bundle: Path, variant: Variant, *, graphs: bool, cache: Path | None
    ) -> None:
        files: dict[str | int, str] = {"embeddings": variant.embeddings, "compaction": str(variant.compaction)}
        files.update(enumerate(variant.stages))
        if variant.row is not None:
            files["row"] = variant.row
        buckets = Buckets(variant.tensorrt_build.profiles)
        paths = {graph: bundle / name for graph, name in files.items()}
        super().__init__(library, gpu, buckets, paths, graphs=graphs, cache=cache)
        first = self.engines[0]
        self.stages = len(variant.stages)
        self.has_row = variant.row is not None
        self.hidden_size = int(first.get_tensor_shape(HIDDEN_STATES)[-1])
        self.hidden_dtype = np.dtype(self.trt.nptype(first.get_tensor_dtype(HIDDEN_STATES)))
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
        self._ran: set[Any] = set()
        # Contexts go before the configs and the cache that they use. So they do when the process ends, where objects
        # that are still alive go in any order.
        weakref.finalize(self, _clear, self._contexts, engines.configs, engines.cache)

    def enqueue(self, graph: str | int, shapes: Shapes, addresses: Mapping[str, int]) -> None:
        """Start an engine."""
        rows = shapes[ROWS] if ROWS in shapes else next(iter(shapes.values()))
        sequence = (shapes[TOKENS[0]] if TOKENS[0] in shapes else shapes[HIDDEN_STATES])[1]
        key = (graph, 0 if graph == "row" else self._owner.buckets.find(rows[0], sequence))
        context = self._contexts[key] if key in self._contexts else self._make(key)
        bound_shapes, bound_addresses = self._bound.pop(key, ({}, {}))  # unknown after an error: all are set again
        for name, shape in shapes.items():
            if bound_shapes.get(name) != shape:
                self._check(context.set_input_shape(name, shape), key, f"{name} of shape {list(shape)}")
        for name, address in addresses.items():
            if bound_addresses.get(name) != address:
                self._check(context.set_tensor_address(name, address), key, f"the address of {name}")
        self._bound[key] = (shapes, addresses)
        ran = (key, *shapes.values())
        if bound_shapes == shapes or ran in self._ran:
            self._check(context.execute_async_v3(self.stream.handle), key, "a run")
            return
        with signals_kept():  # the first run of a shape may compile kernels
            done = context.execute_async_v3(self.stream.handle)
        self._check(done, key, "a run")
        self._ran.add(ran)
        if self._owner.cache is not None:
            self._owner.cache.expect_more()

    def replay(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Capture the enqueued work as one CUDA graph, or replay it."""
        self.stream.replay(key, enqueue)

    def _make(self, key: tuple[str | int, int]) -> Any:
        graph, profile = key
        context = self._owner.context(graph)
        self._check(context is not None, key, "a context")
        context.set_device_memory(self._activations.address, self._activations.nbytes)
        self._check(context.set_optimization_profile_async(profile, self.stream.handle), key, f"profile {profile}")
        self.stream.synchronize()  # a change of profile may copy
        self._contexts[key] = context
        return context

    def _check(self, done: bool, key: tuple[str | int, int], what: str) -> None:
        if not done:
            raise EngineError(f"TensorRT refused {what} for engine {key[0]!r}: {self._owner.log.take_errors()}")


def _clear(contexts: dict[Any, Any], *kept: Any) -> None:
    contexts.clear()
