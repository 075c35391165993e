"""The whole model on a GPU: one TensorRT engine with the profiles of the chain's, or one ONNX Runtime session."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines.runner import WholeModelRunner
from fastbert.benchmarks.baselines.whole_model_gpu import (
    ENGINE,
    SESSION,
    WholeModel,
    build_whole_model,
    open_engine,
    open_session,
    write_whole_model,
)
from fastbert.benchmarks.systems import Budget, Runner, Sources
from fastbert.runtime.engines.gpu.tensorrt.libraries import LIBRARIES
from fastbert.runtime.manifest import read_manifest


def prepare(sources: Sources) -> None:
    """Write the graph. For TensorRT, build it too, which takes as long as all stages together."""
    manifest = read_manifest(sources.bundle)
    variant = manifest.variant_for(sources.device, sources.variant)
    if sources.device in LIBRARIES:
        build_whole_model(sources.bundle, manifest, variant, sources.folder)
    else:
        write_whole_model(sources.bundle, variant, sources.folder)


def load(sources: Sources, budget: Budget) -> Runner:
    """Load the engine or session that `prepare` wrote."""
    manifest = read_manifest(sources.bundle)
    variant = manifest.variant_for(sources.device, sources.variant)
    if sources.device in LIBRARIES:
        executor = open_engine(sources.folder / ENGINE, variant, len(manifest.labels), cuda_graphs=sources.cuda_graphs)
    else:
        executor = open_session(sources.folder / SESSION, manifest, cuda_graphs=sources.cuda_graphs)
    settings = {"engine": variant.engine, "device": sources.device, "calls": budget.calls}
    settings |= {"cuda_graphs": True} if sources.cuda_graphs else {}
    return _GpuRunner(executor, manifest.layers, settings, cuda_graphs=sources.cuda_graphs)


class _GpuRunner(WholeModelRunner):
    """Each thread has its own buffers."""

    def __init__(self, executor: Any, layers: int, settings: dict[str, Any], *, cuda_graphs: bool) -> None:
        super().__init__(layers, settings)
        self._executor = executor
        self._cuda_graphs = cuda_graphs
        self._threads = threading.local()

    def _logits(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        if not hasattr(self._threads, "model"):
            self._threads.model = WholeModel(self._executor, cuda_graphs=self._cuda_graphs)
        size = self._executor.max_batch or len(input_ids)  # larger batches run in parts
        return np.concatenate(
            [
                self._threads.model.run(
                    *(array[start : start + size] for array in (input_ids, attention_mask, token_type_ids))
                )
                for start in range(0, len(input_ids), size)
            ]
        )
