"""Which ONNX Runtime the C library runs, and what it declares of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbert.runtime import Classifier

HERE = Path(__file__).parent
DECLARATIONS = HERE.parents[2] / "runtime" / "cpp" / "src" / "onnxruntime" / "onnxruntime_api.h"
HEADERS = "FASTBERT_ONNXRUNTIME_HEADERS"  # a folder with the official onnxruntime_c_api.h
OTHER = "FASTBERT_OTHER_ONNXRUNTIME"  # the shared library of another release

# Loads a bundle in a process that has no ONNX Runtime yet, and prints what happens.
LOAD = """
import sys
import numpy as np
from fastbert.runtime.cpp.binding import Session, load_library
from fastbert.runtime.errors import FastBertError
library, bundle, *names = sys.argv[1:]
assert "onnxruntime" not in sys.modules
for name in names or [None]:
    try:
        options = {} if name is None else {"onnxruntime_library": name.encode()}
        session = Session(load_library(library), bundle, threads=1, **options)
        output = session.run(np.array([[1, 5, 6, 2], [1, 9, 6, 2]]), speed=0.0)
        output = np.concatenate([output.logits, session.run(np.array([[1, 5, 6, 2]]), speed=0.0).logits])
        print(" ".join(value.hex() for value in output.flatten().tolist()))
    except FastBertError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def load(library_path, family_bundle):
    """A function: names of ONNX Runtime's library -> a line for each, and what was printed to stderr."""

    def run(*names, **variables):
        environment = {name: value for name, value in os.environ.items() if name != "FASTBERT_ONNXRUNTIME"} | variables
        command = [sys.executable, "-c", LOAD, library_path, family_bundle("bert"), *names]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), done.stderr

    return run


@pytest.fixture
def headers():
    folder = os.environ.get(HEADERS)
    if not folder:
        pytest.skip(f"{HEADERS} does not name a folder with onnxruntime_c_api.h")
    return Path(folder)


def logits(line):
    return np.array([float.fromhex(value) for value in line.split()], np.float32).reshape(-1, 3)


def compiler():
    found = shutil.which("cc")
    if found is None:
        pytest.skip("needs a C compiler")
    return found


def shared_library(source, output):
    subprocess.run([compiler(), "-shared", "-fPIC", source, "-o", output], check=True)
    return output


def test_found_by_option_and_by_variable(load, onnxruntime_path, family_bundle):
    classifier = Classifier.load(family_bundle("bert"), threads=1)
    rows = np.array([[1, 5, 6, 2], [1, 9, 6, 2]])
    expected = np.concatenate([classifier.run(rows, speed=0.0).logits, classifier.run(rows[:1], speed=0.0).logits])
    for names, variables in (([str(onnxruntime_path)], {}), ([], {"FASTBERT_ONNXRUNTIME": str(onnxruntime_path)})):
        [line], stderr = load(*names, **variables)
        np.testing.assert_array_equal(logits(line), expected)
        assert stderr == ""


def test_found_by_the_dynamic_linker(load, onnxruntime_path, tmp_path):
    (tmp_path / "libonnxruntime.so.1").symlink_to(onnxruntime_path)
    [line], _ = load(LD_LIBRARY_PATH=str(tmp_path))
    assert logits(line).shape == (3, 3)


def test_found_in_the_process(load, onnxruntime_path, tmp_path):
    """Where a host is linked to it, its own copy is used."""
    [line], _ = load(LD_PRELOAD=str(onnxruntime_path))
    assert logits(line).shape == (3, 3)


def test_missing(load, tmp_path):
    nowhere = str(tmp_path / "libonnxruntime.so.1")
    lines, stderr = load(nowhere)
    start = f"EngineError ONNX Runtime could not be loaded from {nowhere}, which "
    assert lines[0].startswith(f"{start}onnxruntime_library names")
    [line], _ = load(FASTBERT_ONNXRUNTIME=nowhere)
    assert line.startswith(f"{start}FASTBERT_ONNXRUNTIME names")
    [line], _ = load()
    assert line.startswith("EngineError ONNX Runtime was not found. onnxruntime_library is not given")
    assert all(name in line for name in ("FASTBERT_ONNXRUNTIME", "libonnxruntime.so.1:", "libonnxruntime.so:"))
    assert stderr == ""


def test_not_onnxruntime_then_the_right_one(load, library_path, onnxruntime_path):
    """A failure is not kept: the next model may name another library. Then every model must name the same."""
    lines, _ = load(str(library_path), str(onnxruntime_path), str(onnxruntime_path.resolve()), "/nowhere.so")
    assert "is not ONNX Runtime: it has no OrtGetApiBase" in lines[0]
    assert logits(lines[1]).shape == logits(lines[2]).shape == (3, 3)
    assert lines[3].startswith("UsageError `onnxruntime_library` is /nowhere.so, but this process already runs")


def test_too_old(load, tmp_path):
    old = shared_library(HERE / "programs" / "old_onnxruntime.c", tmp_path / "libonnxruntime.so.1")
    lines, stderr = load(str(old))
    assert lines[0].startswith(f"EngineError ONNX Runtime 1.25.9 ({old}) is too old: fastbert needs 1.26 or later.")
    assert stderr == ""


def test_telemetry_is_turned_off(cpp_build, family_bundle, onnxruntime_path, tmp_path):
    """ONNX Runtime would write into the home directory."""
    program = [cpp_build / "tests" / "fastbert_stress", family_bundle("bert"), "1", "1"]
    environment = {"HOME": str(tmp_path), "FASTBERT_ONNXRUNTIME": str(onnxruntime_path)}
    subprocess.run(program, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert list(tmp_path.iterdir()) == []


def test_telemetry_of_a_process_with_threads(library_path, family_bundle, tmp_path):
    """The environment cannot be changed safely: the log says so."""
    code = """
import ctypes, os, sys, threading, time
from fastbert.runtime.cpp.binding import LogFunction, ModelOptions, load_library
del os.environ["ORT_DISABLE_TELEMETRY"]
threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
library, bundle = load_library(sys.argv[1]), sys.argv[2].encode()
log = LogFunction(lambda user_data, severity, message: print(severity, message.decode()))
library.fastbert_set_log(log, None)
options = ModelOptions(onnxruntime_library=b"/nowhere.so")
assert library.fastbert_model_load(bundle, ctypes.byref(options), ctypes.byref(ctypes.c_void_p())) == 3
assert ctypes.CDLL(None).getenv(b"ORT_DISABLE_TELEMETRY") == 0
"""
    command = [sys.executable, "-c", code, library_path, family_bundle("bert")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("2 ORT_DISABLE_TELEMETRY is not set")


def test_another_release(load, onnxruntime_path):
    other = os.environ.get(OTHER)
    if not other:
        pytest.skip(f"{OTHER} does not name the shared library of another release of ONNX Runtime")
    [mine], _ = load(str(onnxruntime_path))
    [others], stderr = load(other)
    np.testing.assert_allclose(logits(others), logits(mine), atol=1e-5)
    assert stderr == ""


def test_declarations(headers, tmp_path):
    """The table declared here has every function at its place in the official one, with its type."""
    functions = re.findall(r"\(\*\s*(\w+)\)\(", DECLARATIONS.read_text().partition("struct OnnxRuntimeApi {")[2])
    base = ["GetApi", "GetVersionString"]
    functions = [name for name in functions if name not in base]
    assert len(functions) > 30
    checks = [f"CHECK(OnnxRuntimeApi, OrtApi, {name});" for name in functions]
    checks += [f"CHECK(OnnxRuntimeApiBase, OrtApiBase, {name});" for name in base]
    source = tmp_path / "declarations.cpp"
    source.write_text((HERE / "programs" / "declarations.cpp").read_text() + "\n".join(checks) + "\n")
    flags = [
        "-std=c++17",
        "-fsyntax-only",
        "-Wno-ignored-attributes",
        f"-I{headers}",
        f"-I{DECLARATIONS.parent.parent}",
    ]
    done = subprocess.run(["c++", *flags, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_host_with_its_own_and_two_copies(headers, library_path, onnxruntime_path, family_bundle, tmp_path):
    program, include = tmp_path / "host", HERE.parents[2] / "runtime" / "cpp" / "include"
    command = [compiler(), HERE / "programs" / "host.c", f"-I{headers}", f"-I{include}", "-ldl", "-o", program]
    subprocess.run(command, check=True)
    copy = shutil.copy(library_path, tmp_path / "libfastbert_copy.so")
    command = [program, family_bundle("bert"), onnxruntime_path, library_path, copy]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    expected = Classifier.load(family_bundle("bert"), threads=1).run(np.array([[1, 5, 6, 7, 2]]), speed=0.0)
    refused, *lines = done.stdout.splitlines()
    assert refused.startswith("`host_thread_pool` is set, but `ort_env` has no global thread pool.")
    assert len(lines) == 3
    for line in lines:
        layer, *values = line.split()
        assert int(layer) == expected.exit_layer[0]
        np.testing.assert_allclose([float.fromhex(value) for value in values], expected.logits[0], atol=1e-6)
