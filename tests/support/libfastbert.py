"""The C library for tests: the one in the installed package, or one that is built from the checkout and kept.

`make test` installs it with the package. An editable installation has none: it is built here, once for all processes.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

from fastbert.runtime.cpp import include_dir, onnxruntime_library
from fastbert.runtime.errors import EngineError

ROOT = Path(__file__).resolve().parents[2]


@cache
def setup_script():
    """Return the module ``setup.py``, which runs nothing when it is imported."""
    spec = importlib.util.spec_from_file_location("setup_of_fastbert", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_place() -> Path:
    """Return the folder for CMake to build this checkout in. It is kept, so that the next run compiles what changed."""
    number = hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
    default = Path(tempfile.gettempdir()) / f"fastbert-tests-{os.getuid()}-{number}"
    return Path(os.environ.get("FASTBERT_CPP_BUILD") or default)


def built() -> Path:
    """Build the library and its test programs. Skip the test where what they need is missing.

    :returns: the folder of ``include`` and ``lib``, as they are installed.
    """
    folder, missing = _built()
    if folder is None:
        pytest.skip(f"no C library: {missing}")
    return folder


@cache
def _built() -> tuple[Path | None, str]:
    setup, folder = setup_script(), build_place()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patch.setenv("FASTBERT_CPP_BUILD", str(folder))
        try:
            return setup.build_library("-DFASTBERT_TESTS=ON"), ""
        except setup.BuildFailed:
            raise
        except setup.NotBuilt as error:
            return None, str(error)


def prefix() -> Path:
    """Return the folder of the library's ``include`` and ``lib``; skip the test where it cannot be built."""
    try:
        return include_dir().parent
    except EngineError:
        return built()


def library() -> Path:
    """Return the shared library."""
    return prefix() / "lib" / ("libfastbert.1.dylib" if sys.platform == "darwin" else "libfastbert.so.1")


def compiler(name: str) -> str:
    """Return the path of a compiler; skip the test where it is absent."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} here")
    return path


def environment(**more) -> dict[str, str]:
    """Return the environment of a program that runs a bundle: it finds the ONNX Runtime of the package onnxruntime."""
    return {**os.environ, "FASTBERT_ONNXRUNTIME": str(onnxruntime_library()), **more}


def run(*command, check=True, env=(), **options):
    """Run a program to its end; fail with what it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment(**dict(env)), capture_output=True, text=True, **options)
    assert not check or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done
