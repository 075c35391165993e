"""The baseline on a GPU: a bundle's model without early exits, as one TensorRT engine."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.whole_model import join_stages
from fastbert.export.tensorrt import EngineBuilder
from fastbert.runtime.engines.buckets import Buckets
from fastbert.runtime.engines.cuda import open_gpu
from fastbert.runtime.engines.tensorrt import Engines, require_tensorrt
from fastbert.runtime.manifest import Manifest, Variant

__all__ = ["WholeModel", "build_whole_model"]

_IDS = ("input_ids", "attention_mask", "token_type_ids")


def build_whole_model(bundle: Path, manifest: Manifest, variant: Variant, folder: Path) -> Path:
    """Build the graphs that a TensorRT variant was built from as one engine, with its profiles and level.

    :returns: the plan's path in ``folder``.
    :raises EngineError: it cannot be built here.
    """
    details = variant.record["tensorrt"]
    source = next(held for held in manifest.variants if held.name == details["source"])
    builder = EngineBuilder(
        require_tensorrt(),
        open_gpu("tensorrt"),
        Buckets.from_manifest(details["profiles"]),
        hidden_size=manifest.hidden_size,
        level=details["optimization_level"],
        timing_cache=folder / "timing.cache",
    )
    plan = folder / "whole.engine"
    plan.write_bytes(builder.build("whole", join_stages(bundle, source).SerializeToString()))
    return plan


class WholeModel:
    """One engine from ids to logits; every call copies in, runs, copies out and waits. For one thread.

    :param cuda_graphs: replay the run as one CUDA graph; batches are padded to their bucket.
    """

    def __init__(self, plan: Path, buckets: Buckets, classes: int, *, cuda_graphs: bool) -> None:
        trt, gpu = require_tensorrt(), open_gpu("tensorrt")
        self._buckets = buckets
        self._graphs = cuda_graphs
        engines = Engines(trt, gpu, buckets, {"whole": plan})
        engine = engines.engines["whole"]
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._output = next(name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT)
        self._worker = engines.worker()
        tokens = buckets.max_batch * buckets.max_sequence
        self._device = {name: gpu.allocate(tokens * 8, name) for name in _IDS}
        self._host = {name: gpu.pinned((tokens,), np.int64) for name in _IDS}
        self._device[self._output] = gpu.allocate(buckets.max_batch * classes * 4, "logits")
        self._logits = gpu.pinned((buckets.max_batch, classes), np.float32)

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the logits: int64 [batch, sequence] each -> float32 [batch, classes]."""
        rows, length = input_ids.shape
        bucket = self._buckets.all[self._buckets.find(rows, length)]
        shape = (bucket.max_batch if self._graphs else rows, bucket.sequence)
        stream = self._worker.stream
        for name, array in zip(_IDS, (input_ids, attention_mask, token_type_ids), strict=True):
            padded = self._host[name][: shape[0] * shape[1]].reshape(shape)
            padded[:] = 0
            padded[:rows, :length] = array
            stream.to_device(self._device[name].address, padded)
        addresses = {name: buffer.address for name, buffer in self._device.items()}

        def enqueue() -> None:
            self._worker.enqueue("whole", dict.fromkeys(_IDS, shape), addresses)

        if self._graphs:
            stream.replay(shape, enqueue)
        else:
            enqueue()
        stream.to_host(self._logits[: shape[0]], addresses[self._output])
        stream.synchronize()
        return self._logits[:rows].copy()
