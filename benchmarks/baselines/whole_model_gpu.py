"""The whole model on a GPU, as one graph: a TensorRT engine or an ONNX Runtime session."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines.whole_model import join_stages
from fastbert.export.tensorrt.builder import EngineBuilder
from fastbert.runtime.engines.gpu.cuda import open_gpu
from fastbert.runtime.engines.gpu.onnxruntime import CUDA, Sessions
from fastbert.runtime.engines.gpu.tensorrt.engines import Engines
from fastbert.runtime.engines.gpu.tensorrt.libraries import LIBRARIES, Library
from fastbert.runtime.engines.gpu.tensorrt.profiles import Buckets
from fastbert.runtime.manifest import Manifest, Variant

_IDS = ("input_ids", "attention_mask", "token_type_ids")
_GRAPH = "whole"
ENGINE, SESSION = "whole.engine", "whole.onnx"  # names of the files that are written


class WholeModel:
    """One graph from ids to logits; every call copies in, runs, copies out and waits. For one thread.

    :param executor: of `open_engine` or `open_session`; may be shared.
    :param cuda_graphs: replay the run as one CUDA graph; batches are padded. A session must be opened for it.
    """

    def __init__(self, executor: Any, *, cuda_graphs: bool = False) -> None:
        self._executor = executor
        self._graphs = cuda_graphs
        self._capacity = (0, 0)
        self._device: dict[str, Any] = {}
        self._host: dict[str, NDArray[Any]] = {}
        with executor.turn:
            self._worker = executor.worker()
            self._reserve(*executor.capacity)

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the logits: int64 [batch, sequence] each -> float32 [batch, classes]."""
        rows, length = input_ids.shape
        batch, sequence = self._executor.fit(rows, length, pad_batch=self._graphs)
        worker, stream = self._worker, self._worker.stream
        with self._executor.turn:
            self._reserve(batch, sequence)
            stream.synchronize()  # a run that failed may still be reading the buffers that are written here
            for name, array in zip(_IDS, (input_ids, attention_mask, token_type_ids), strict=True):
                padded = self._host[name][: batch * sequence].reshape(batch, sequence)
                padded[:] = 0
                padded[:rows, :length] = array
                stream.to_device(self._device[name].address, padded)
            addresses = {name: int(self._device[name].address) for name in _IDS}
            addresses[self._executor.output] = int(self._device["logits"].address)

            def enqueue() -> None:
                worker.enqueue(_GRAPH, dict.fromkeys(_IDS, (batch, sequence)), addresses)

            if self._graphs:  # a graph holds addresses: buffers that grew need a new one
                worker.replay((self._capacity, batch, sequence), enqueue)
            else:
                enqueue()
            logits = self._host["logits"][: batch * self._executor.classes].reshape(batch, -1)
            stream.to_host(logits, self._device["logits"].address)
            stream.synchronize()
        return logits[:rows].copy()

    def _reserve(self, batch: int, sequence: int) -> None:
        """Make room for a run of this shape, on the device and on the host."""
        if batch <= self._capacity[0] and sequence <= self._capacity[1]:
            return
        batch, sequence = max(batch, self._capacity[0]), max(sequence, self._capacity[1])
        self._worker.stream.synchronize()
        self._capacity = (0, 0)
        self._device.clear()  # before the larger ones are allocated
        sizes: dict[str, tuple[int, Any]] = {name: (batch * sequence, np.int64) for name in _IDS}
        sizes["logits"] = (batch * self._executor.classes, np.float32)
        for name, (elements, dtype) in sizes.items():
            nbytes, what = elements * np.dtype(dtype).itemsize, f"{name} of {batch} x {sequence} tokens"
            self._device[name] = self._executor.memory.allocate(nbytes, what)
            self._host[name] = self._executor.memory.pinned((elements,), dtype)
        self._capacity = (batch, sequence)


def build_whole_model(bundle: Path, manifest: Manifest, variant: Variant, folder: Path) -> Path:
    """Build the graphs that a TensorRT variant was built from as one engine, with the same profiles and level.

    :returns: the plan's path in ``folder``.
    :raises EngineError: the build fails.
    """
    details = variant.tensorrt_build
    source = next(held for held in manifest.variants if held.name == details.source)
    library = LIBRARIES[variant.engine]
    builder = EngineBuilder(
        library,
        Buckets(details.profiles),
        hidden_size=manifest.hidden_size,
        gpu=open_gpu(library.extra),
        level=details.optimization_level,
        timing_cache=folder / "timing.cache",
        compute_capabilities=details.compute_capabilities,
    )
    plan = folder / ENGINE
    plan.write_bytes(builder.build(_GRAPH, join_stages(bundle, source).SerializeToString()))
    return plan


def write_whole_model(bundle: Path, variant: Variant, folder: Path) -> Path:
    """Join the graphs of a variant for ONNX Runtime on a GPU; return the path in ``folder``."""
    path = folder / SESSION
    path.write_bytes(join_stages(bundle, variant).SerializeToString())
    return path


def open_engine(plan: Path, variant: Variant, classes: int, *, cuda_graphs: bool = False) -> Any:
    """Load a plan of `build_whole_model`, for `WholeModel`.

    :param cuda_graphs: whether CUDA graphs will capture its runs.
    """
    buckets = Buckets(variant.tensorrt_build.profiles)
    return _Engine(LIBRARIES[variant.engine], plan, buckets, classes, cuda_graphs=cuda_graphs)


def open_session(path: Path, manifest: Manifest, *, cuda_graphs: bool = False, provider: str = CUDA) -> Any:
    """Load the graph of `write_whole_model` with the chain's session options, for `WholeModel`.

    :param provider: `CUDA`, or `fastbert.runtime.engines.gpu.onnxruntime.CPU` to check the graph without a GPU.
    """
    return _Session(path, manifest, provider, cuda_graphs=cuda_graphs)


class _Engine(Engines):
    def __init__(self, library: Library, plan: Path, buckets: Buckets, classes: int, *, cuda_graphs: bool) -> None:
        super().__init__(library, open_gpu(library.extra), buckets, {_GRAPH: plan}, graphs=cuda_graphs)
        trt, engine = self.trt, self.engines[_GRAPH]
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.output = next(name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT)
        self.classes = classes
        self.capacity = (buckets.max_batch, buckets.max_sequence)
        self.max_batch = buckets.max_batch


class _Session(Sessions):
    def __init__(self, path: Path, manifest: Manifest, provider: str, *, cuda_graphs: bool) -> None:
        super().__init__({_GRAPH: path}, provider, max_positions=manifest.max_positions, cuda_graphs=cuda_graphs)
        self.output = self.sessions[_GRAPH].get_outputs()[0].name
        self.classes = len(manifest.labels)
