"""The whole model on a GPU: one TensorRT engine with the profiles of the chain's, or one ONNX Runtime session."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines.whole_model_gpu import (
    ENGINE,
    SESSION,
    WholeModel,
    build_whole_model,
    open_engine,
    open_session,
    write_whole_model,
)
from fastbert.benchmarks.systems import Answer, Budget, Runner, Sources
from fastbert.runtime.manifest import read_manifest

__all__ = ["GpuRunner", "load", "prepare"]

_ENGINES = {"cuda": "onnxruntime_cuda", "tensorrt": "tensorrt"}


def prepare(sources: Sources) -> None:
    """Write the graph; for TensorRT build it, which takes as long as a stage for each layer."""
    manifest = read_manifest(sources.bundle)
    variant = manifest.variant_for(sources.device)
    if sources.device == "tensorrt":
        build_whole_model(sources.bundle, manifest, variant, sources.folder)
    else:
        write_whole_model(sources.bundle, variant, sources.folder)


def load(sources: Sources, budget: Budget) -> Runner:
    """Return what runs it."""
    manifest = read_manifest(sources.bundle)
    if sources.device == "tensorrt":
        executor = open_engine(sources.folder / ENGINE, manifest.variant_for(sources.device), len(manifest.labels))
    else:
        executor = open_session(sources.folder / SESSION, manifest, cuda_graphs=sources.cuda_graphs)
    settings = {"engine": _ENGINES[sources.device], "device": sources.device, "calls": budget.calls}
    settings |= {"cuda_graphs": True} if sources.cuda_graphs else {}
    return GpuRunner(executor, manifest.layers, settings, cuda_graphs=sources.cuda_graphs)


class GpuRunner:
    """What was opened; each thread has buffers of its own."""

    def __init__(self, executor: Any, layers: int, settings: dict[str, Any], *, cuda_graphs: bool = False) -> None:
        self._executor = executor
        self._cuda_graphs = cuda_graphs
        self._layers = layers
        self._threads = threading.local()
        self.settings = settings

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: float | None,
    ) -> Answer:
        """Classify a padded batch, in parts where it is larger than every profile."""
        if not hasattr(self._threads, "model"):
            self._threads.model = WholeModel(self._executor, cuda_graphs=self._cuda_graphs)
        size = self._executor.max_batch or len(input_ids)
        parts = [
            self._threads.model.run(
                *(array[start : start + size] for array in (input_ids, attention_mask, token_type_ids))
            )
            for start in range(0, len(input_ids), size)
        ]
        logits = np.concatenate(parts)
        return logits, np.full(len(logits), self._layers)
