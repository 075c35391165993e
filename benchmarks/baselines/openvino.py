"""The whole model in OpenVINO, compiled once with dynamic batch and sequence.

Shapes stay dynamic, as for every other system: real rows have many lengths, and a server compiles once. It gets the
latency hint and the budget's threads. For int8 it gets what it runs best on a processor: weights stored as int8, and
activations quantized at run time (``DYNAMIC_QUANTIZATION_GROUP_SIZE``, here a whole row). It runs the graph of
``quantize_dynamic`` far more slowly (docs/performance.md#baselines).
"""

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines import onnx_graphs
from fastbert.benchmarks.baselines.runner import WholeModelRunner, graph_inputs
from fastbert.benchmarks.systems import Budget, Runner, Sources
from fastbert.runtime.errors import EngineError
from fastbert.runtime.manifest import read_manifest

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}  # for all that is not quantized
_NEEDS = {"bfloat16": "BF16", "int8": "INT8"}


def prepare(sources: Sources, *, precision: str) -> None:
    """Write the graph.

    :raises EngineError: OpenVINO does not support the precision on this processor.
    """
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision in _NEEDS and _NEEDS[precision] not in capabilities:
        raise EngineError(f"OpenVINO does not run {precision} on this processor, only {', '.join(capabilities)}.")
    _graph(sources, precision)


def load(sources: Sources, budget: Budget, *, precision: str) -> Runner:
    """Read and compile the graph.

    :raises EngineError: OpenVINO compiled it for another precision.
    """
    manifest = read_manifest(sources.bundle)
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": budget.threads * budget.calls,
        "NUM_STREAMS": budget.calls,
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
    }
    if precision == "int8":
        config["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = manifest.hidden_size
    compiled = _core().compile_model(str(_graph(sources, precision)), "CPU", config)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != _PRECISIONS[precision]:
        raise EngineError(f"OpenVINO compiled for {used} instead of {_PRECISIONS[precision]}.")
    return _OpenVinoRunner(compiled, manifest.layers, used)


@functools.cache
def _core() -> Any:
    """Return the process's only Core, which is never deleted.

    A Core gives its thread a stack for signal handlers, and takes it away when it is deleted. After several Cores, the
    next SIGINT or SIGTERM ends the process with a segmentation fault instead of reaching Python (openvino 2026.4; no
    upstream issue known).
    """
    import openvino

    return openvino.Core()


def _graph(sources: Sources, precision: str) -> Path:
    write = onnx_graphs.weight_quantized_model if precision == "int8" else onnx_graphs.float_model
    return write(sources)


class _OpenVinoRunner(WholeModelRunner):
    """One infer request per thread: threads may share the compiled model, but not a request."""

    def __init__(self, compiled: Any, layers: int, precision: str) -> None:
        settings = {
            "device": ", ".join(compiled.get_property("EXECUTION_DEVICES")),
            "precision": precision,
            "threads": compiled.get_property("INFERENCE_NUM_THREADS"),
            "streams": compiled.get_property("NUM_STREAMS"),
            "performance_hint": str(compiled.get_property("PERFORMANCE_HINT")).rpartition(".")[2],
        }
        super().__init__(layers, settings)
        self._compiled = compiled
        self._names = [value.get_any_name() for value in compiled.inputs]
        self._requests = threading.local()

    def _logits(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        logits: NDArray[np.float32] = request.infer(
            graph_inputs(self._names, input_ids, attention_mask, token_type_ids)
        )[0]
        return logits.copy()
