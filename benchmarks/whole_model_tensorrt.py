"""The baseline on a GPU: a bundle's model without early exits, as one TensorRT engine."""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.whole_model import join_stages
from fastbert.export.tensorrt import EngineBuilder
from fastbert.runtime.engines.buckets import Buckets
from fastbert.runtime.engines.cuda import open_gpu
from fastbert.runtime.engines.tensorrt import Engines, require_tensorrt
from fastbert.runtime.manifest import Manifest, Variant

__all__ = ["WholeModel"]

_IDS = ("input_ids", "attention_mask", "token_type_ids")


class WholeModel:
    """One engine from ids to logits; every call copies in, runs, copies out and waits. For one thread.

    :param source: the ONNX variant to join and build.
    :param level: TensorRT's optimization level; that of the chain it is compared with.
    :param cuda_graphs: replay the run as one CUDA graph; batches are padded to their bucket.
    """

    def __init__(
        self, bundle: Path, manifest: Manifest, source: Variant, buckets: Buckets, *, level: int, cuda_graphs: bool
    ) -> None:
        trt, self._gpu = require_tensorrt(), open_gpu("tensorrt")
        self._buckets = buckets
        self._graphs = cuda_graphs
        with tempfile.TemporaryDirectory(prefix="fastbert-whole-") as folder:
            cache = Path(folder) / "timing.cache"
            builder = EngineBuilder(
                trt, self._gpu, buckets, hidden_size=manifest.hidden_size, level=level, timing_cache=cache
            )
            plan = Path(folder) / "whole.engine"
            graph = join_stages(bundle, source)
            self._output = graph.graph.output[0].name
            plan.write_bytes(builder.build("whole", graph.SerializeToString()))
            self._worker = Engines(trt, self._gpu, buckets, {"whole": plan}).worker()
        tokens = buckets.max_batch * buckets.max_sequence
        self._device = {name: self._gpu.allocate(tokens * 8, name) for name in _IDS}
        self._host = {name: self._gpu.pinned((tokens,), np.int64) for name in _IDS}
        classes = len(manifest.labels)
        self._device[self._output] = self._gpu.allocate(buckets.max_batch * classes * 4, "logits")
        self._logits = self._gpu.pinned((buckets.max_batch, classes), np.float32)

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
