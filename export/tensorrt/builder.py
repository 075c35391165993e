"""ONNX graph -> plan, with TensorRT or TensorRT for RTX: one engine, its profiles, and what can be checked of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastbert.export.tensorrt.inspection import (
    MIN_LOW_PRECISION,
    low_precision_share,
    network_problems,
    profile_problems,
)
from fastbert.export.tensorrt.interface import Limits, input_shapes
from fastbert.export.tensorrt.parser_errors import parser_errors
from fastbert.export.tensorrt.plan_header import header_problems
from fastbert.files.atomic import replace_file
from fastbert.runtime.engines.gpu.cuda import Gpu
from fastbert.runtime.engines.gpu.tensorrt.compute_capabilities import set_targets
from fastbert.runtime.engines.gpu.tensorrt.interrupts import signals_kept
from fastbert.runtime.engines.gpu.tensorrt.libraries import Library, log_of
from fastbert.runtime.engines.gpu.tensorrt.profiles import Buckets
from fastbert.runtime.errors import EngineError
from fastbert.runtime.manifest import Bucket


class EngineBuilder:
    """Builds engines one after another. For one thread.

    :param library: whose engines to build.
    :param gpu: the GPU that TensorRT times its choices on; None: there is none, as TensorRT for RTX needs none.
    :param level: builder optimization level, 0 to 5.
    :param timing_cache: file of TensorRT's timing cache, which may not exist yet: equal layers are then timed once.
    :param compute_capabilities: of the GPUs to build for, such as ``"8.9"``; empty: the library's default.
    :raises MissingDependencyError: the library is not installed.
    :raises EngineError: another major version is installed.
    """

    def __init__(
        self,
        library: Library,
        buckets: Buckets,
        *,
        hidden_size: int,
        gpu: Gpu | None = None,
        level: int = 3,
        timing_cache: Path | None = None,
        compute_capabilities: Sequence[str] = (),
    ) -> None:
        self._library = library
        self._trt = library.load()
        self._buckets = buckets
        self._hidden_size = hidden_size
        self._gpu = gpu
        self._level = level
        self._timing_cache = timing_cache if library.timing_cache else None
        usual = tuple(compute_capabilities) == library.compute_capabilities  # has ">12.0", which cannot be named
        self._compute_capabilities = () if usual else tuple(compute_capabilities)
        self._log = log_of(self._trt)
        self._runtime = self._trt.Runtime(self._log.trt_logger)

    def build(self, graph: str, onnx: bytes) -> bytes:
        """Build one engine from an ONNX model; return the plan.

        :param graph: ``"embeddings"``, ``"compaction"``, ``"stage_00"`` and so on, ``"row"`` for a single row's early
            exit, or ``"whole"`` for a whole model.
        :raises EngineError: the library cannot parse or build the graph, or the engine is not what the chain needs.
        """
        with signals_kept():
            return self._build(graph, onnx)

    def _build(self, graph: str, onnx: bytes) -> bytes:
        trt = self._trt
        self._log.take_errors()  # of others
        builder = trt.Builder(self._log.trt_logger)
        network = builder.create_network(0)  # no flags: networks are always strongly typed
        parser = trt.OnnxParser(network, self._log.trt_logger)
        if not parser.parse(onnx):
            raise EngineError(f"{self._title} cannot parse {graph}: {parser_errors(parser)}")
        self._require_fit(graph, network_problems(trt, network, graph, hidden_size=self._hidden_size))
        config = self._configure(builder.create_builder_config())
        for bucket in self._buckets.of(graph):
            profile = builder.create_optimization_profile()
            shapes = self._shapes(graph, bucket)
            for name, limits in shapes.items():
                profile.set_shape(name, limits.smallest, limits.tuned, limits.largest)
            if config.add_optimization_profile(profile) < 0:
                raise EngineError(f"{self._title} refuses the profile {bucket} for {graph}: {self._log.take_errors()}")
            self._require_fit(graph, profile_problems(profile, shapes))
        self._read_cache(config)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f"{self._title} could not build {graph}{self._memory()}: {self._log.take_errors()}")
        self._write_cache(config)
        content = bytes(plan)
        if self._library.checks_headers:
            self._require_fit(graph, header_problems(trt, self._runtime, content))
        return content

    def low_precision_share(self, graph: str, plan: bytes) -> float | None:
        """Inspect an engine; return the share of its layers in float16 or int8; None: this library cannot tell.

        :raises EngineError: the share is unknown or below `MIN_LOW_PRECISION`.
        """
        if not self._library.reports_types or self._gpu is None:
            return None
        with signals_kept():
            return self._measured_share(graph, plan, self._gpu)

    def _measured_share(self, graph: str, plan: bytes, gpu: Gpu) -> float:
        trt, bucket = self._trt, self._buckets.of(graph)[0]
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(f"{self._title} cannot read the plan of {graph} that it built: {self._log.take_errors()}")
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        stream = gpu.stream()
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

    @property
    def _title(self) -> str:
        return f"{self._library.title} {self._trt.__version__}"

    def _configure(self, config: Any) -> Any:
        trt = self._trt
        config.builder_optimization_level = self._level
        config.clear_flag(trt.BuilderFlag.TF32)  # set by default; float32 is to be float32
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # without it the inspector names no types
        for flag in self._library.flags:
            config.set_flag(getattr(trt.BuilderFlag, flag))
        if self._compute_capabilities and not set_targets(trt, config, self._compute_capabilities):
            refused = ", ".join(self._compute_capabilities)
            raise EngineError(f"{self._title} refuses the compute capabilities {refused}: {self._log.take_errors()}")
        return config

    def _shapes(self, graph: str, bucket: Bucket) -> dict[str, Limits]:
        return input_shapes(graph, bucket, hidden_size=self._hidden_size, max_batch=self._buckets.max_batch)

    def _require_fit(self, graph: str, problems: Sequence[str]) -> None:
        if problems:
            raise EngineError(
                f"The engine of {graph} is not what the chain needs: {'; '.join(problems)}. The graph is not one that "
                f"fastbert export wrote, or {self._title} changed it. Export the bundle again; if it fails again, "
                "report it."
            )

    def _memory(self) -> str:
        if self._gpu is None:
            return ""
        free, total = (f"{size / 1e6:.0f} MB" for size in self._gpu.memory)
        return f" ({free} of {total} of device memory free)"

    def _read_cache(self, config: Any) -> None:
        if self._timing_cache is None:
            return
        stored = self._timing_cache.read_bytes() if self._timing_cache.is_file() else b""
        for content in (stored, b""):  # a cache of another GPU or TensorRT is refused: start with an empty one
            cache = config.create_timing_cache(content)
            if cache is not None and config.set_timing_cache(cache, False):
                return

    def _write_cache(self, config: Any) -> None:
        if self._timing_cache is not None:
            replace_file(self._timing_cache, bytes(config.get_timing_cache().serialize()))
