"""The C library ``libfastbert``: where its files are, for programs that are built against it.

::

    cc classify.c $(python -m fastbert.runtime.cpp --cflags --libs) -o classify

The library is part of this package where CMake and a C++ compiler were present when it was installed.
"""

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

from fastbert.runtime.errors import EngineError, MissingDependencyError

__all__ = ["cflags", "cmake_dir", "include_dir", "library", "libs", "onnxruntime_library", "pkgconfig_dir"]

_HERE = Path(__file__).resolve().parent
_LIB = _HERE / "lib"
_FILE = "libfastbert.1.dylib" if sys.platform == "darwin" else "libfastbert.so.1"  # the number is the ABI version
_LIBRARY = "FASTBERT_LIBRARY"
_REASON = "not_built.txt"  # setup.py writes it


def library() -> Path:
    """Return the shared library: the one that the environment variable FASTBERT_LIBRARY names, or this package's.

    :raises EngineError: there is none.
    """
    named = os.environ.get(_LIBRARY)
    if named is None:
        return _installed(_LIB / _FILE)
    path = Path(named).resolve()
    if not path.is_file():
        raise EngineError(f"{_LIBRARY} names {named}, which is not a file. Name libfastbert's file, or unset it.")
    return path


def include_dir() -> Path:
    """Return the folder of ``fastbert.h`` and ``fastbert.hpp``.

    :raises EngineError: the library is not in this installation. So do the functions below.
    """
    return _installed(_HERE / "include")


def cmake_dir() -> Path:
    """Return the folder for ``cmake -Dfastbert_DIR=...``, which makes ``find_package(fastbert)`` find the library."""
    return _installed(_LIB / "cmake" / "fastbert")


def pkgconfig_dir() -> Path:
    """Return the folder for the environment variable PKG_CONFIG_PATH."""
    return _installed(_LIB / "pkgconfig")


def cflags() -> str:
    """Return the flags to compile a program with, quoted for a shell."""
    return shlex.join([f"-I{include_dir()}"])


def libs() -> str:
    """Return the flags to link a program with, quoted for a shell. The program finds the library where it is now."""
    folder = _installed(_LIB)
    return shlex.join([f"-L{folder}", "-lfastbert", f"-Wl,-rpath,{folder}"])


def onnxruntime_library() -> Path:
    """Return the shared library within the package onnxruntime, for the environment variable FASTBERT_ONNXRUNTIME.

    :raises EngineError: the package is not installed or has none.
    """
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise MissingDependencyError("onnxruntime", "cpu")
    folder = Path(spec.origin).parent / "capi"
    found = sorted([*folder.glob("libonnxruntime.so*"), *folder.glob("libonnxruntime.*.dylib")])
    if not found:
        raise EngineError(
            f"The package onnxruntime has no shared library for other languages in {folder}. Install another release "
            "of it, or download ONNX Runtime's own archive and name its library: FASTBERT_ONNXRUNTIME=..."
        )
    return found[0]


def _installed(path: Path) -> Path:
    if (_LIB / _FILE).is_file():
        return path
    reason = _HERE / _REASON
    why = reason.read_text(encoding="utf-8").strip() if reason.is_file() else "An editable installation has none."
    raise EngineError(
        f"libfastbert is not part of this installation of fastbert-deploy, in {_HERE}. {why} Install CMake, a C++ "
        "compiler, nlohmann-json and utf8proc (Debian: apt-get install cmake g++ nlohmann-json3-dev libutf8proc-dev), "
        "then: FASTBERT_CPP=1 pip install --force-reinstall --no-deps --no-cache-dir fastbert-deploy"
    )
