"""The real TensorRT 11 Python module on a machine without TensorRT.

Its bindings are a package of 1 MB that needs nine C functions of NVIDIA's libraries. A stub library of these, compiled
here, lets it be imported: every class, enum and signature is the real one. Nothing can be built or run with it.
"""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_STUB = """
void *createInferBuilder_INTERNAL(void *logger, int version) { return 0; }
void *createInferRuntime_INTERNAL(void *logger, int version) { return 0; }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { return 0; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
void *getBuilderPluginRegistry(int capability) { return 0; }
void *getPluginRegistry(void) { return 0; }
_Bool initLibNvInferPlugins(void *logger, const char *space) { return 0; }
"""
_LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")


@functools.cache
def real_tensorrt():
    """Import ``tensorrt_bindings``, over NVIDIA's libraries if they are here, or else over the stub; or skip."""
    try:
        import tensorrt_libs  # noqa: F401
    except ImportError:
        _load_stub()
    try:
        import tensorrt_bindings
    except ImportError as error:
        pytest.skip(f"the package tensorrt-cu13-bindings is not installed: {error}")
    return tensorrt_bindings


@functools.cache
def real_tensorrt_rtx():
    """Import ``tensorrt_rtx``, the real library, which parses and builds without a GPU; or skip."""
    try:
        import tensorrt_rtx
    except ImportError as error:
        pytest.skip(f"the package tensorrt-rtx-cu13 is not installed: {error}")
    return tensorrt_rtx


def _load_stub() -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the stub of TensorRT's libraries")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "stub.c"
        source.write_text(_STUB)
        for name in _LIBRARIES:
            library = Path(folder) / f"{name}.so.11"
            options = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{library.name}", "-o", library]
            subprocess.run([compiler, *options, source], check=True)
            # found by its soname when the bindings need it; not global: TensorRT for RTX has functions of these names
            ctypes.CDLL(str(library))
