"""The baselines on a GPU: a bundle's model without early exits, as one TensorRT engine or one ONNX Runtime session."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines.whole_model import join_stages
from fastbert.export.tensorrt.builder import EngineBuilder
from fastbert.runtime.engines.gpu.cuda import open_gpu
from fastbert.runtime.engines.gpu.device_chain import Lane
from fastbert.runtime.engines.gpu.onnxruntime import CUDA, Sessions
from fastbert.runtime.engines.gpu.profiles import Buckets
from fastbert.runtime.engines.gpu.tensorrt import Engines, require_tensorrt
from fastbert.runtime.manifest import Manifest, Variant

__all__ = ["ENGINE", "SESSION", "WholeModel", "build_whole_model", "open_engine", "open_session", "write_whole_model"]

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
        with executor.turn:
            self._lane = Lane(executor)

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the logits: int64 [batch, sequence] each -> float32 [batch, classes]."""
        rows, length = input_ids.shape
        lane, shape = self._lane, self._executor.fit(rows, length, pad_batch=self._graphs)
        with self._executor.turn:
            lane.reserve(*shape)
            stream = lane.worker.stream
            stream.synchronize()  # a run that an error cut short may still be reading what is written here
            for name, array in zip(_IDS, (input_ids, attention_mask, token_type_ids), strict=True):
                padded = lane.host(name, shape)
                padded[:] = 0
                padded[:rows, :length] = array
                stream.to_device(lane.address(name), padded)
            addresses = {**{name: lane.address(name) for name in _IDS}, self._executor.output: lane.address("logits")}

            def enqueue() -> None:
                lane.worker.enqueue(_GRAPH, dict.fromkeys(_IDS, shape), addresses)

            if self._graphs:
                lane.replay(shape, enqueue)
            else:
                enqueue()
            logits = lane.host("logits", (shape[0], self._executor.classes))
            stream.to_host(logits, lane.address("logits"))
            stream.synchronize()
        return logits[:rows].copy()


def build_whole_model(bundle: Path, manifest: Manifest, variant: Variant, folder: Path) -> Path:
    """Build the graphs that a TensorRT variant was built from as one engine, with its profiles and level.

    :returns: the plan's path in ``folder``.
    :raises EngineError: it cannot be built here.
    """
    details = variant.tensorrt_build
    source = next(held for held in manifest.variants if held.name == details.source)
    builder = EngineBuilder(
        require_tensorrt(),
        open_gpu("tensorrt"),
        Buckets(details.profiles),
        hidden_size=manifest.hidden_size,
        level=details.optimization_level,
        timing_cache=folder / "timing.cache",
    )
    plan = folder / ENGINE
    plan.write_bytes(builder.build(_GRAPH, join_stages(bundle, source).SerializeToString()))
    return plan


def write_whole_model(bundle: Path, variant: Variant, folder: Path) -> Path:
    """Write the graphs of a variant for ONNX Runtime on a GPU as one; return its path in ``folder``."""
    path = folder / SESSION
    path.write_bytes(join_stages(bundle, variant).SerializeToString())
    return path


def open_engine(plan: Path, variant: Variant, classes: int) -> Any:
    """Read a plan of `build_whole_model`; return what a `WholeModel` runs."""
    return _Engine(plan, Buckets(variant.tensorrt_build.profiles), classes)


def open_session(path: Path, manifest: Manifest, *, cuda_graphs: bool = False, provider: str = CUDA) -> Any:
    """Make the session of `write_whole_model`, with the options of the chain's; return what a `WholeModel` runs.

    :param provider: `CUDA`, or `fastbert.runtime.engines.gpu.onnxruntime.CPU` for a check of the graph.
    """
    return _Session(path, manifest, provider, cuda_graphs=cuda_graphs)


class _NoStages:
    """What a `Lane` asks about hidden states: there are none outside the graph."""

    hidden_size = 0
    hidden_dtype = np.dtype(np.float16)


class _Engine(_NoStages, Engines):
    def __init__(self, plan: Path, buckets: Buckets, classes: int) -> None:
        trt = require_tensorrt()
        super().__init__(trt, open_gpu("tensorrt"), buckets, {_GRAPH: plan})
        engine = self.engines[_GRAPH]
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.output = next(name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT)
        self.classes = classes
        self.capacity = (buckets.max_batch, buckets.max_sequence)
        self.max_batch = buckets.max_batch


class _Session(_NoStages, Sessions):
    def __init__(self, path: Path, manifest: Manifest, provider: str, *, cuda_graphs: bool) -> None:
        super().__init__({_GRAPH: path}, provider, max_positions=manifest.max_positions, cuda_graphs=cuda_graphs)
        self.output = self.sessions[_GRAPH].get_outputs()[0].name
        self.classes = len(manifest.labels)
