"""ONNX graph -> TensorRT 11 plan: one engine, its profiles, the timing cache, and the check of its precision."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbert.export.tensorrt.inspection import MIN_LOW_PRECISION, low_precision_share
from fastbert.files.atomic import replace_file
from fastbert.runtime.engines.gpu.cuda import Gpu
from fastbert.runtime.engines.gpu.profiles import Buckets
from fastbert.runtime.engines.gpu.tensorrt import make_log
from fastbert.runtime.errors import EngineError
from fastbert.runtime.manifest import Bucket

_Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Limits:
    """An input's smallest and largest shape in a profile, and the one that it is tuned for."""

    smallest: _Shape
    tuned: _Shape
    largest: _Shape


def _input_shapes(graph: str, bucket: Bucket, *, hidden_size: int, max_batch: int) -> dict[str, _Limits]:
    """Return the shapes of an engine's inputs in one bucket.

    :param graph: ``"embeddings"``, ``"compaction"``, ``"stage_00"`` and so on, or ``"whole"`` for a whole model.
    """
    sequence, tops = bucket.sequence, (bucket.min_batch, bucket.max_batch, bucket.max_batch)
    if graph in ("embeddings", "whole"):
        ids = _Limits(*((batch, sequence) for batch in tops))
        return dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), ids)
    if graph == "compaction":  # from any batch to a batch of this bucket
        tops = (1, bucket.max_batch, max_batch)
    shapes = {
        "hidden_states": _Limits(*((batch, sequence, hidden_size) for batch in tops)),
        "extended_attention_mask": _Limits(*((batch, 1, 1, sequence) for batch in tops)),
    }
    if graph == "compaction":
        shapes["rows"] = _Limits((bucket.min_batch,), (bucket.max_batch,), (bucket.max_batch,))
    return shapes


class EngineBuilder:
    """Builds engines one after another with one timing cache, so that equal layers are timed once.

    :param trt: the module tensorrt.
    :param level: builder optimization level, 0 to 5.
    :param timing_cache: file of the timing cache; it may not exist yet.
    """

    def __init__(
        self, trt: Any, gpu: Gpu, buckets: Buckets, *, hidden_size: int, level: int, timing_cache: Path
    ) -> None:
        self._trt = trt
        self._gpu = gpu
        self._buckets = buckets
        self._hidden_size = hidden_size
        self._level = level
        self._timing_cache = timing_cache
        self._log = make_log(trt)
        self._runtime = trt.Runtime(self._log.trt_logger)

    def build(self, graph: str, onnx: bytes) -> bytes:
        """Build one engine from an ONNX model; return the plan.

        :raises EngineError: TensorRT cannot parse or build the graph.
        """
        trt = self._trt
        builder = trt.Builder(self._log.trt_logger)
        network = builder.create_network(0)  # no flags: TensorRT 11 is always strongly typed
        parser = trt.OnnxParser(network, self._log.trt_logger)
        if not parser.parse(onnx):
            errors = [parser.get_error(index) for index in range(parser.num_errors)]
            reasons = "; ".join(f"{error.node_name()}: {error.desc()}" for error in errors)
            raise EngineError(f"TensorRT {trt.__version__} cannot parse {graph}: {reasons}")
        config = builder.create_builder_config()
        config.builder_optimization_level = self._level
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # without it the inspector names no types
        for bucket in self._buckets.all:
            profile = builder.create_optimization_profile()
            for name, limits in self._shapes(graph, bucket).items():
                profile.set_shape(name, limits.smallest, limits.tuned, limits.largest)
            if config.add_optimization_profile(profile) < 0:
                raise EngineError(f"TensorRT refuses the profile {bucket} for {graph}: {self._log.take_errors()}")
        self._read_cache(config)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            free, total = (f"{size / 1e6:.0f} MB" for size in self._gpu.memory)
            reason = self._log.take_errors()
            raise EngineError(f"TensorRT could not build {graph} ({free} of {total} of device memory free): {reason}")
        self._write_cache(config)
        return bytes(plan)

    def low_precision_share(self, graph: str, plan: bytes) -> float:
        """Inspect an engine; return the share of its layers in float16 or int8.

        :raises EngineError: the share is unknown or below `MIN_LOW_PRECISION`.
        """
        trt, bucket = self._trt, self._buckets.all[0]
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(f"TensorRT cannot read the plan of {graph} that it built: {self._log.take_errors()}")
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        stream = self._gpu.stream()
        context.set_optimization_profile_async(0, stream.handle)
        for name, limits in self._shapes(graph, bucket).items():
            context.set_input_shape(name, limits.tuned)
        stream.synchronize()
        inspector = engine.create_engine_inspector()
        inspector.execution_context = context  # types are only known for given shapes
        share = low_precision_share(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
        if share is None or share < MIN_LOW_PRECISION:
            found = "names no types" if share is None else f"shows {share:.0%} of the layers in float16 or int8"
            raise EngineError(
                f"TensorRT's inspector {found} for {graph}; expected at least {MIN_LOW_PRECISION:.0%}. The engine is "
                "refused because it would silently run in float32. Report this with the TensorRT version."
            )
        return share

    def _shapes(self, graph: str, bucket: Bucket) -> dict[str, _Limits]:
        return _input_shapes(graph, bucket, hidden_size=self._hidden_size, max_batch=self._buckets.max_batch)

    def _read_cache(self, config: Any) -> None:
        stored = self._timing_cache.read_bytes() if self._timing_cache.is_file() else b""
        for content in (stored, b""):  # a cache of another GPU or TensorRT is refused: start with an empty one
            cache = config.create_timing_cache(content)
            if cache is not None and config.set_timing_cache(cache, False):
                return

    def _write_cache(self, config: Any) -> None:
        replace_file(self._timing_cache, bytes(config.get_timing_cache().serialize()))
