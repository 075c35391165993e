"""Fixtures: bundles for a GPU, and the stand-ins in the place of TensorRT and CUDA."""

import shutil
import sys

import pytest

from fastbert.export import BuildOptions, ExportOptions, build, export_bundle
from support.doubles.cuda import FakeCuda
from support.doubles.real_tensorrt import real_tensorrt, real_tensorrt_rtx
from support.doubles.tensorrt import FakeTensorRT


@pytest.fixture(scope="session")
def gpu_bundle(checkpoint, tmp_path_factory):
    """A bundle of fp32, fp16 and int8-qdq; only read it."""
    path = tmp_path_factory.mktemp("gpu") / "bundle"
    rows = checkpoint.sample_rows[10:20]  # few, as every build verifies on them; they exit at every layer
    export_bundle(checkpoint, path, ExportOptions(precisions=("fp32", "fp16", "int8-qdq"), verify_data=rows))
    return path


@pytest.fixture
def bundle_copy(gpu_bundle, tmp_path):
    """One to build in."""
    return shutil.copytree(gpu_bundle, tmp_path / "bundle")


@pytest.fixture
def cuda(monkeypatch):
    """A GPU of sm90 with 1 GiB."""
    fake = FakeCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake)
    return fake


@pytest.fixture
def tensorrt(monkeypatch, cuda):
    """TensorRT of the real bindings' version, on that GPU."""
    fake = FakeTensorRT(real_tensorrt(), cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake


@pytest.fixture(scope="session")
def built_with(gpu_bundle, tmp_path_factory):
    """Build in a copy of the bundle with a stand-in, once per options: (build options) -> the copy; only read it."""
    made = {}

    def build_with(options):
        if options not in made:
            path = shutil.copytree(gpu_bundle, tmp_path_factory.mktemp("built") / "bundle")
            rtx = options.engine == "tensorrt-rtx"
            gpu = FakeCuda(sm=(8, 9), name=b"Fake RTX") if rtx else FakeCuda()
            real, name = (real_tensorrt_rtx(), "tensorrt_rtx") if rtx else (real_tensorrt(), "tensorrt")
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(sys.modules, "cuda.bindings.runtime", gpu)
                patch.setitem(sys.modules, name, FakeTensorRT(real, gpu, name=name))
                patch.setenv("XDG_CACHE_HOME", str(path.parent / "cache"))
                build(path, options)
            made[options] = path
        return made[options]

    return build_with


@pytest.fixture
def built(tensorrt, built_with, tmp_path):
    """A bundle with engines for batches of 1, 2-4 and 5-16, and 16, 32 and 48 tokens."""
    options = BuildOptions(batches=(1, 4, 16), sequences=(16, 32, 48))
    return shutil.copytree(built_with(options), tmp_path / "bundle")


@pytest.fixture
def no_gpu(monkeypatch):
    """A machine without a GPU, whatever this one has."""
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeCuda(devices=0))


@pytest.fixture
def rtx_cuda(monkeypatch):
    """A GPU of compute capability 8.9 with 1 GiB."""
    fake = FakeCuda(sm=(8, 9), name=b"Fake RTX")
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake)
    return fake


@pytest.fixture
def tensorrt_rtx(monkeypatch, rtx_cuda, tmp_path):
    """TensorRT for RTX of the real library's version, on that GPU; its runtime caches are in a folder of the test."""
    fake = FakeTensorRT(real_tensorrt_rtx(), rtx_cuda, name="tensorrt_rtx")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def rtx_built(tensorrt_rtx, built_with, tmp_path):
    """A bundle with engines of TensorRT for RTX for batches of 1, 2-4 and 5-16, and 16, 32 and 48 tokens."""
    options = BuildOptions(batches=(1, 4, 16), sequences=(16, 32, 48), engine="tensorrt-rtx")
    return shutil.copytree(built_with(options), tmp_path / "bundle")
