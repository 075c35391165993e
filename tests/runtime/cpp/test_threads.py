"""Threads that share a model, the memory that calls take, and log messages."""

import ctypes
import json
import os
import resource
import subprocess
import threading
from ctypes import byref, c_void_p

import numpy as np
import pytest

from fastbert.runtime import EngineError
from fastbert.runtime.cpp.binding import LogFunction


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_eight_threads_on_one_model(cpp_build, family_bundle, onnxruntime_path, variant):
    """Every row has the same answer on every thread, also while the first batch loads its engines."""
    command = [cpp_build / "tests" / "fastbert_stress", family_bundle("bert"), "8", "200", variant]
    environment = os.environ | {"FASTBERT_ONNXRUNTIME": str(onnxruntime_path), "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr
    assert done.stderr == ""


def test_sessions_of_one_model_in_python_threads(libfastbert, family_bundle, open_session):
    """The lock of the lazy engines is taken by several threads at once."""
    first = open_session(family_bundle("bert"))
    ids = np.array([[1, 5, 6, 2], [1, 9, 6, 2]])
    expected = first.run(ids, speed=0.3).logits
    shared = open_session(family_bundle("bert"))
    found = []

    def work():
        session = c_void_p()
        assert libfastbert.fastbert_session_create(shared._model, byref(session)) == 0
        other = object.__new__(type(shared))
        other._library, other._model, other._session, other.info = libfastbert, c_void_p(), session, shared.info
        found.append(other.run(ids, speed=0.3).logits)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for logits in found:
        np.testing.assert_array_equal(logits, expected)


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_memory_stays_flat(open_session, family_bundle):
    """Buffers are reused: many calls, batches, errors and loads take no more memory than a few."""
    session = open_session(family_bundle("bert"))
    shapes = [np.ones((rows, length), np.int64) for rows in (1, 3) for length in (1, 17, 66)]

    def calls(count):
        for number in range(count):
            session.run(shapes[number % len(shapes)], speed=0.3)
            if number % 10 == 0:
                with pytest.raises(Exception, match="model knows"):
                    session.run(np.full((1, 2), 99))

    calls(300)
    before = resident_bytes()
    calls(2000)
    assert resident_bytes() - before < 1 << 20


def test_loads_are_freed(open_session, family_bundle):
    for _ in range(5):
        open_session(family_bundle("bert"))
    before = resident_bytes()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        open_session(family_bundle("bert"))
    assert resident_bytes() - before < 4 << 20
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_log(libfastbert, open_session, copied):
    """What ONNX Runtime logs comes to the function; a failing run is an error, and the session goes on."""
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["vocab_size"] = 1000  # more than the embeddings have
    (copied / "manifest.json").write_text(json.dumps(manifest))
    session, seen = open_session(copied), []
    function = LogFunction(lambda user_data, severity, message: seen.append((user_data, severity, message)))
    libfastbert.fastbert_set_log(function, 7)
    try:
        for rows in (1, 2):
            with pytest.raises(
                EngineError, match="ONNX Runtime could not run the bundle's engines on this input: .*999"
            ):
                session.run(np.full((rows, 2), 999))
    finally:
        libfastbert.fastbert_set_log(ctypes.cast(None, LogFunction), None)
    assert {(user_data, severity) for user_data, severity, _ in seen} == {(7, 3)}
    assert all(b"999" in message for *_, message in seen)
    assert session.run(np.full((2, 2), 5)).logits.shape == (2, 3)
