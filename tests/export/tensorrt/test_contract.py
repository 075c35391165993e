"""Our calls against the real Python interfaces of both libraries, which can be inspected without a GPU."""

import ast
from pathlib import Path

import pytest
from support.doubles.contract import bind, held_to, signatures
from support.doubles.real_tensorrt import real_tensorrt, real_tensorrt_rtx

import fastbert.export.tensorrt.builder
import fastbert.export.tensorrt.inspection
import fastbert.export.tensorrt.plan_header
import fastbert.runtime.engines.gpu.tensorrt.compute_capabilities
import fastbert.runtime.engines.gpu.tensorrt.engines
import fastbert.runtime.engines.gpu.tensorrt.libraries
import fastbert.runtime.engines.gpu.tensorrt.runtime_config
from fastbert.runtime.engines.gpu.tensorrt.libraries import LIBRARIES

SHARED = (
    fastbert.export.tensorrt.builder,
    fastbert.export.tensorrt.inspection,
    fastbert.runtime.engines.gpu.tensorrt.engines,
    fastbert.runtime.engines.gpu.tensorrt.libraries,
)
RTX_ONLY = (
    fastbert.export.tensorrt.plan_header,
    fastbert.runtime.engines.gpu.tensorrt.compute_capabilities,
    fastbert.runtime.engines.gpu.tensorrt.runtime_config,
)
TABLE = [(real_tensorrt, module) for module in SHARED]
TABLE += [(real_tensorrt_rtx, module) for module in (*SHARED, *RTX_ONLY)]


@pytest.fixture(scope="module")
def real():
    return real_tensorrt()


def unknown_names(source, real):
    """Return every ``trt.a.b`` in a source text that the real module does not have."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        names, inner = [], node
        while isinstance(inner, ast.Attribute):
            names.append(inner.attr)
            inner = inner.value
        path = [getattr(inner, "id", ""), *names[::-1]]  # trt.a.b, self.trt.a.b, self._owner.trt.a.b
        if "trt" not in path:
            continue
        path = path[path.index("trt") + 1 :]
        found = real
        for name in path:
            if not hasattr(found, name):
                missing.append(".".join(path))
                break
            found = getattr(found, name)
    return missing


@pytest.mark.parametrize(("library", "module"), TABLE, ids=lambda value: value.__name__.rpartition(".")[2])
def test_a_library_has_every_name_that_we_use(library, module):
    source = Path(module.__file__).read_text()
    assert "trt." in source
    assert unknown_names(source, library()) == []


def test_what_tensorrt_lacks_is_used_only_where_the_table_says(real):
    """Shared lines have no branches for one library: its own names are in modules of their own."""
    for module in RTX_ONLY:
        assert unknown_names(Path(module.__file__).read_text(), real)


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_flags_of_the_table_exist(library):
    flags = {"tensorrt": real_tensorrt, "tensorrt-rtx": real_tensorrt_rtx}[library.name]().BuilderFlag
    assert set(library.flags) <= set(flags.__members__)


def test_a_flag_of_tensorrt_10_is_found(real, tensorrt):
    """The purpose of this file: until TensorRT 10, `BuilderFlag.FP16` made half-precision engines. It was removed."""
    assert unknown_names("config.set_flag(trt.BuilderFlag.FP16)", real) == ["BuilderFlag.FP16"]
    assert unknown_names("trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH", real)
    builder = tensorrt.Builder(tensorrt.ILogger())
    config = builder.create_builder_config()
    config.set_flag(tensorrt.BuilderFlag.TF32)
    with pytest.raises(AttributeError, match="FP16"):
        config.set_flag(tensorrt.BuilderFlag.FP16)


def test_a_build_with_a_flag_of_tensorrt_10_fails(tensorrt, bundle_copy, monkeypatch):
    """If our code set the old flag, no test of a build could pass."""
    from fastbert.export import BuildOptions, build
    from fastbert.export.tensorrt.builder import EngineBuilder

    read_cache = EngineBuilder._read_cache

    def with_old_flag(self, config):
        config.set_flag(self._trt.BuilderFlag.FP16)
        read_cache(self, config)

    monkeypatch.setattr(EngineBuilder, "_read_cache", with_old_flag)
    with pytest.raises(AttributeError, match="FP16"):
        build(bundle_copy, BuildOptions(batches=(1,)))


def test_the_stand_in_takes_only_the_real_arguments(real, tensorrt):
    builder = tensorrt.Builder(logger=tensorrt.ILogger())
    with pytest.raises(TypeError):
        builder.create_network(explicit_batch=True)
    config = builder.create_builder_config()
    with pytest.raises(TypeError):
        config.create_timing_cache("text")
    with pytest.raises(TypeError):
        config.set_timing_cache(config.create_timing_cache(b""))  # the second argument has no default
    with pytest.raises(AttributeError):
        config.max_workspace_size = 1 << 30  # gone since 10
    with pytest.raises(AttributeError):
        config.int8_calibrator = None
    with pytest.raises(AttributeError):
        builder.build_engine(None, config)  # gone since 10


def test_the_stand_in_cannot_have_more_than_the_real_class(real):
    from support.doubles.contract import Recorder

    class IExecutionContext:
        def execute_async_v2(self, bindings, stream_handle): ...

    with pytest.raises(AttributeError, match="execute_async_v2"):
        held_to(real, Recorder())(IExecutionContext)


def test_signatures_are_read_from_the_real_docstrings(real):
    assert [[a.name for a in overload] for overload in signatures(real.IExecutionContext, "set_device_memory")] == [
        ["memory", "size"]
    ]
    assert len(signatures(real.IExecutionContext, "set_input_shape")) == 3
    assert bind(real.IExecutionContext, "set_input_shape", ("x", (1, 2)), {}) == {"name": "x", "shape": (1, 2)}
    with pytest.raises(TypeError):
        bind(real.IExecutionContext, "set_input_shape", ("x",), {})
    with pytest.raises(TypeError):
        bind(real.IExecutionContext, "set_input_shape", (1, (1, 2)), {})


def test_the_stand_in_for_cuda_takes_only_the_real_arguments(cuda):
    with pytest.raises(TypeError):
        cuda.cudaMalloc()
    with pytest.raises(AttributeError):
        cuda.cudaStreamBeginCaptureEx()
