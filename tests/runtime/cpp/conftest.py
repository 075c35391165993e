"""The C library, built once for all processes and tests, and bundles of every model family."""

import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from support.factories import make_checkpoint

import fastbert.runtime.cpp
from fastbert.export import ExportOptions, export_bundle
from fastbert.runtime.cpp.binding import Session, load_library

SOURCES = Path(__file__).parents[3] / "runtime" / "cpp"
NAME = "libfastbert.so.1"


@pytest.fixture(scope="session")
def cpp_build(request) -> Path:
    """The folder in which CMake built the library and its test programs. It is kept: the next run builds little."""
    if not (SOURCES / "CMakeLists.txt").is_file():
        pytest.skip("the sources of the C library are not beside the tests")
    for program in ("cmake", "c++"):
        if shutil.which(program) is None:
            pytest.skip(f"building the C library needs {program}")
    folder = request.config.cache.mkdir("libfastbert")
    text = "ON" if list((SOURCES / "src" / "tokenizer").glob("*.cpp")) else "OFF"
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    build, options = folder / "build", [f"-DFASTBERT_TEXT={text}", "-DFASTBERT_TESTS=ON"]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (
            ["cmake", "-S", SOURCES, "-B", build, *generator, *options],
            ["cmake", "--build", build, "--parallel", "2"],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode and "find_package" in done.stderr + done.stdout:
                pytest.skip(f"the C library was not built: {done.stderr[-500:]}")
            assert done.returncode == 0, done.stdout + done.stderr
    return build


@pytest.fixture(scope="session")
def library_path(request) -> Path:
    """libfastbert: the installed package's, if it has one, or the one that is built here."""
    installed = Path(fastbert.runtime.cpp.__file__).parent / "lib" / NAME
    return installed if installed.is_file() else request.getfixturevalue("cpp_build") / NAME


@pytest.fixture(scope="session")
def libfastbert(library_path):
    """libfastbert, loaded into this process."""
    return load_library(library_path)


@pytest.fixture(scope="session")
def onnxruntime_path() -> Path:
    """The shared library of the installed ONNX Runtime, which Python uses too."""
    import onnxruntime

    found = list((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not found:
        pytest.skip("the onnxruntime package has no libonnxruntime.so")
    return found[0]


@pytest.fixture(scope="session")
def open_session(libfastbert, onnxruntime_path):
    """A function: bundle and fields of fastbert_model_options -> a session of the C library."""

    def open_(bundle, *, variant=None, **options) -> Session:
        defaults = {"threads": 1, "onnxruntime_library": os.fsencode(onnxruntime_path)}
        return Session(libfastbert, bundle, variant=variant and variant.encode(), **defaults | options)

    return open_


@pytest.fixture(scope="session")
def family_bundle(tmp_path_factory):
    """A function: model family -> a bundle with the variants fp32 and int8."""

    @cache
    def make(family: str) -> Path:
        path = tmp_path_factory.mktemp("family") / family
        export_bundle(make_checkpoint(family), path, ExportOptions(precisions=("fp32", "int8")))
        return path

    return make


@pytest.fixture
def copied(family_bundle, tmp_path) -> Path:
    """A bundle that a test may damage."""
    return shutil.copytree(family_bundle("bert"), tmp_path / "copy")
