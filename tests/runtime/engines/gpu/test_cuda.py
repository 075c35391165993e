"""Memory, copies and streams, on a stand-in with the signatures of the real bindings (`doubles.cuda`)."""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.doubles.cuda import FakeCuda

from fastbert.runtime.engines.gpu.cuda import Gpu, open_gpu
from fastbert.runtime.errors import EngineError, MissingDependencyError


def test_a_gpu_has_a_name_and_an_architecture(cuda):
    gpu = open_gpu("gpu")
    assert (gpu.name, gpu.sm) == ("Fake GPU", "sm90")


def test_a_copy_to_the_device_and_back_is_done_after_waiting(cuda):
    gpu = Gpu(cuda)
    stream, buffer = gpu.stream(), gpu.allocate(40, "a test")
    sent, received = gpu.pinned((2, 5), np.float32), gpu.pinned((2, 5), np.float32)
    sent[:] = np.arange(10).reshape(2, 5)
    received[:] = 0
    stream.to_device(buffer.address, sent)
    stream.to_host(received, buffer.address)
    assert not received.any()  # nothing has happened yet
    stream.synchronize()
    assert (received == sent).all()


def test_memory_is_freed_with_the_last_reference(cuda):
    gpu = Gpu(cuda)
    buffer, array, stream = gpu.allocate(64, "a test"), gpu.pinned((4,), np.int64), gpu.stream()
    part = array[1:]
    assert (len(cuda.live), len(cuda.pinned), len(cuda.streams)) == (1, 1, 1)
    del buffer, array, stream
    gc.collect()
    assert (len(cuda.live), len(cuda.pinned), len(cuda.streams)) == (0, 1, 0)  # a view holds its array
    del part
    gc.collect()
    assert not cuda.pinned


def test_too_little_memory_says_what_was_needed_and_what_was_free():
    gpu = Gpu(FakeCuda(total=64 << 20))
    kept = gpu.allocate(60 << 20, "the first")
    with pytest.raises(EngineError, match=r"16\.0 MiB were needed for hidden, 4\.0 of 64\.0 MiB were free") as raised:
        gpu.allocate(16 << 20, "hidden")
    assert "--batch" in str(raised.value)
    assert kept.nbytes == 60 << 20


def test_no_gpu_is_an_error_that_says_what_to_do():
    with pytest.raises(EngineError, match=r"cudaErrorNoDevice.*device='cpu'"):
        Gpu(FakeCuda(devices=0))


def test_a_driver_that_is_missing_is_the_same_error():
    """The real bindings, on a machine without a driver."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="the package cuda-bindings is not installed")
    if runtime.cudaGetDeviceCount()[0] == runtime.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU here")
    with pytest.raises(EngineError, match="No GPU is available"):
        open_gpu("gpu")


def test_missing_bindings_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(MissingDependencyError, match=r"fastbert-deploy\[tensorrt\]"):
        open_gpu("tensorrt")


def test_work_is_first_run_then_captured_then_replayed(cuda):
    gpu = Gpu(cuda)
    stream, buffer = gpu.stream(), gpu.allocate(8, "a test")
    number = gpu.pinned((1,), np.int64)
    enqueued = []

    def enqueue():
        enqueued.append(1)
        stream.to_device(buffer.address, number)

    back = gpu.pinned((1,), np.int64)
    for value in (5, 6, 7, 8):
        number[0] = value
        stream.replay("key", enqueue)
        stream.to_host(back, buffer.address)
        stream.synchronize()
        assert back[0] == value
    assert len(enqueued) == 2
    assert cuda.calls.count("cudaGraphLaunch") == 3


def test_a_capture_is_closed_when_it_fails(cuda):
    stream = Gpu(cuda).stream()
    stream.replay("key", lambda: None)
    with pytest.raises(ZeroDivisionError):
        stream.replay("key", lambda: 1 / 0)
    stream.synchronize()  # which would fail within a capture


def test_nothing_is_collected_during_a_capture(cuda):
    """A collection may free memory of the GPU, which ends the capture."""
    stream, collects = Gpu(cuda).stream(), []
    for _ in range(2):
        stream.replay("key", lambda: collects.append(gc.isenabled()))
    assert collects == [True, False]
    assert gc.isenabled()


_AT_EXIT = """
import atexit, sys
sys.path.insert(0, sys.argv[1])
from support.doubles.cuda import FakeCuda
fake = FakeCuda()
atexit.register(lambda: sys.stdout.write(f"{len(fake.streams)} {len(fake.live)} {len(fake.pinned)}"))  # runs last
import numpy as np
from fastbert.runtime.engines.gpu.cuda import Gpu
gpu = Gpu(fake)
kept = [gpu.stream(), gpu.allocate(8, "a test"), gpu.pinned((1,), np.int64)]
gone = [gpu.stream(), gpu.allocate(8, "a test"), gpu.pinned((1,), np.int64)]
gone.clear()
"""


def test_resources_are_released_with_their_owner_but_not_when_the_process_ends(cuda):
    tests = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-P", "-c", _AT_EXIT, tests], capture_output=True, text=True, check=True)
    assert found.stdout == "1 1 1"
