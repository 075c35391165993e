import inspect
import sys

import pytest

from fastbert.benchmarks.machine import gpu as gpu_environment
from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.machine.gpu import describe_gpu, synchronisation_us
from fastbert.runtime.engines.gpu.cuda import open_gpu


def test_a_synchronisation_is_a_copy_and_a_wait(cuda):
    gpu = open_gpu("gpu")
    cuda.calls.clear()
    found = synchronisation_us(gpu, runs=3)
    assert all(value > 0 for value in found.values())
    assert cuda.calls.count("cudaMemcpyAsync") == 3 + gpu_environment._WARM_UP


class FakeNvml:
    """``cuda.bindings.nvml``, held to the real one's names and arguments."""

    def __init__(self, answers):
        self._real = pytest.importorskip("cuda.bindings.nvml", reason="the package cuda-bindings is not installed")
        self._answers = answers

    def __getattr__(self, name):
        real = getattr(self._real, name)  # AttributeError: no such function
        if inspect.isclass(real):
            return real

        def call(*arguments):
            inspect.signature(real).bind(*arguments)
            return self._answers.get(name)

        return call


def test_the_environment_names_gpu_driver_and_clocks(monkeypatch):
    answers = {
        "device_get_handle_by_index_v2": 77,
        "device_get_name": "NVIDIA Fake",
        "system_get_driver_version": "590.1",
        "system_get_cuda_driver_version_v2": 13040,
        "device_get_clock_info": 1410,
        "device_get_max_clock_info": 1980,
        "device_get_persistence_mode": 1,
        "device_get_power_management_limit": 700_000,
    }
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvml", FakeNvml(answers))
    found = describe_gpu()
    assert (found["gpu"], found["driver"], found["cuda_driver"]) == ("NVIDIA Fake", "590.1", "13.4")
    assert found["clocks_mhz"] == {"graphics": 1410, "sm": 1410, "memory": 1410}
    assert (found["max_clocks_mhz"]["sm"], found["power_limit_w"], found["persistence_mode"]) == (1980, 700.0, True)


def test_a_question_that_a_gpu_does_not_answer_leaves_the_other_answers(monkeypatch):
    nvml = FakeNvml({"device_get_name": "NVIDIA Fake", "device_get_clock_info": 1410})
    nvml.device_get_max_clock_info = lambda *_: (_ for _ in ()).throw(RuntimeError("Not Supported"))
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvml", nvml)
    found = describe_gpu()
    assert (found["gpu"], found["clocks_mhz"]["sm"], found["max_clocks_mhz"]) == ("NVIDIA Fake", 1410, None)
    assert "max_clocks_mhz: Not Supported" in found["note"]


def test_without_nvml_the_note_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvml", None)
    assert "NVML is not available" in describe_gpu()["note"]


def test_the_environment_of_a_gpu_bench_has_the_cost_of_checking_an_exit(cuda):
    assert set(describe_environment("tensorrt")["device"]["synchronisation"]) == {"copy_and_wait_us", "wait_us"}
