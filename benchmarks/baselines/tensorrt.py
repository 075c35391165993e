"""The whole model in one TensorRT engine, with the profiles of the chain's engines."""

import threading

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.systems import Answer, Budget, Runner, Sources
from fastbert.benchmarks.whole_model_tensorrt import WholeModel, build_whole_model
from fastbert.runtime.engines.buckets import Buckets
from fastbert.runtime.manifest import read_manifest

__all__ = ["EngineRunner", "load", "prepare"]

_PLAN = "whole.engine"


def prepare(sources: Sources) -> None:
    """Build the engine; takes as long as a stage for each layer."""
    manifest = read_manifest(sources.bundle)
    build_whole_model(sources.bundle, manifest, manifest.variant_for(sources.device), sources.folder)


def load(sources: Sources, budget: Budget) -> Runner:
    """Return what runs it."""
    return EngineRunner(sources, budget)


class EngineRunner:
    """The engine; each thread reads one of its own, as contexts and buffers are for one thread."""

    def __init__(self, sources: Sources, budget: Budget) -> None:
        self._manifest = read_manifest(sources.bundle)
        details = self._manifest.variant_for(sources.device).record["tensorrt"]
        self._buckets = Buckets.from_manifest(details["profiles"])
        self._plan = sources.folder / _PLAN
        self._threads = threading.local()
        self.settings = {"engine": "tensorrt", "device": sources.device, "calls": budget.calls}

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: float | None,
    ) -> Answer:
        """Classify a padded batch, in parts where it is larger than every profile."""
        if not hasattr(self._threads, "model"):
            classes = len(self._manifest.labels)
            self._threads.model = WholeModel(self._plan, self._buckets, classes, cuda_graphs=False)
        size = self._buckets.max_batch
        parts = [
            self._threads.model.run(
                *(array[start : start + size] for array in (input_ids, attention_mask, token_type_ids))
            )
            for start in range(0, len(input_ids), size)
        ]
        logits = np.concatenate(parts)
        return logits, np.full(len(logits), self._manifest.layers)
