"""Signals wait while TensorRT works, as the library drops what is raised from our logger."""

import signal
import subprocess
import sys
import threading

import pytest

from fastbert.runtime.engines.gpu.tensorrt.interrupts import signals_kept


def test_a_signal_has_its_effect_when_the_block_ends():
    before, seen = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), signals_kept():
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        seen.append("the rest of the block")
    assert seen
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_nothing_handles_keeps_its_effect():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with signals_kept():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_nothing_changes():
    found = []

    def work():
        with signals_kept():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]


REAL = """
import signal, sys
from fastbert.export.tensorrt.builder import EngineBuilder
from fastbert.runtime.engines.gpu.tensorrt.profiles import Buckets
from fastbert.runtime.engines.gpu.tensorrt.libraries import TENSORRT_RTX, log_of
log = log_of(TENSORRT_RTX.load()).trt_logger
kind, plain = type(log), type(log).log
sent = []
def pressed(self, severity, msg):  # Ctrl-C in the middle of a build
    if not sent:
        sent.append(1)
        signal.raise_signal(signal.SIGINT)
    plain(self, severity, msg)
builder = EngineBuilder(TENSORRT_RTX, Buckets.from_sizes((4,), (48,)), hidden_size=32)
kind.log = pressed
builder.build("compaction", open(sys.argv[1], "rb").read())
print("went on", sent)
"""


def test_ctrl_c_stops_a_build_of_the_real_library(gpu_bundle):
    pytest.importorskip("tensorrt_rtx")
    script = [sys.executable, "-c", REAL, str(gpu_bundle / "fp16" / "compaction.onnx")]
    done = subprocess.run(script, capture_output=True, text=True)
    assert "went on" not in done.stdout, done.stderr
    assert "KeyboardInterrupt" in done.stderr.splitlines()[-1]
