"""The C library, built once for all processes and tests, and bundles of every model family."""

import os
import shutil
from functools import cache
from pathlib import Path

import pytest
from support import libfastbert as build
from support.factories import make_checkpoint

from fastbert.export import ExportOptions, export_bundle
from fastbert.runtime.cpp.binding import Session, load_library


@pytest.fixture(scope="session")
def cpp_build() -> Path:
    """The folder in which CMake built the library and its test programs. It is kept: the next run builds little."""
    build.built()
    return build.build_place()


@pytest.fixture(scope="session")
def library_path() -> Path:
    """libfastbert: the installed package's, if it has one, or the one that is built here."""
    return build.library()


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
    """A function: model family -> a bundle with the variant fp32, that of bert with int8 too."""

    @cache
    def make(family: str) -> Path:
        path = tmp_path_factory.mktemp("family") / family
        precisions = ("fp32", "int8") if family == "bert" else ("fp32",)
        export_bundle(make_checkpoint(family), path, ExportOptions(precisions=precisions))
        return path

    return make


@pytest.fixture
def copied(family_bundle, tmp_path) -> Path:
    """A bundle that a test may damage."""
    return shutil.copytree(family_bundle("bert"), tmp_path / "copy")
