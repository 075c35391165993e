"""The whole model in OpenVINO, compiled once with dynamic batch and sequence.

Shapes are left dynamic, as they are for every other system: real rows have many lengths, and a server compiles once.
The latency hint is given, and the threads of the budget. int8 is what OpenVINO does best on a processor: weights
stored as int8 and activations quantized as they come (``DYNAMIC_QUANTIZATION_GROUP_SIZE``, here a whole row); the graph
of ``quantize_dynamic`` takes 3.5 times as long in it (6x384, 64 tokens, openvino 2026.4).
"""

import functools
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines import onnx_graphs
from fastbert.benchmarks.systems import Answer, Budget, Runner, Sources
from fastbert.runtime.errors import EngineError
from fastbert.runtime.manifest import read_manifest

__all__ = ["load", "prepare"]

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}  # of what is not quantized
_NEEDS = {"bfloat16": "BF16", "int8": "INT8"}


def prepare(sources: Sources, *, precision: str) -> None:
    """Write the graph.

    :raises EngineError: OpenVINO says that this processor does not have the precision.
    """
    found = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision in _NEEDS and _NEEDS[precision] not in found:
        raise EngineError(f"OpenVINO has no {precision} on this processor: it names {', '.join(found)}")
    _graph(sources, precision)


def load(sources: Sources, budget: Budget, *, precision: str) -> Runner:
    """Read and compile the graph.

    :raises EngineError: OpenVINO compiled it for another precision than was asked.
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
        raise EngineError(f"OpenVINO was asked for {_PRECISIONS[precision]} and runs in {used}")
    return _OpenVinoRunner(compiled, manifest.layers, used)


@functools.cache
def _core() -> Any:
    """Return one Core, kept for good.

    Each gives the thread a stack for signals and takes it away when it goes; after several have come and gone, the next
    SIGINT or SIGTERM kills the process with a segmentation fault instead of reaching Python (openvino 2026.4).
    """
    import openvino

    return openvino.Core()


def _graph(sources: Sources, precision: str) -> Any:
    made = onnx_graphs.weight_quantized_model if precision == "int8" else onnx_graphs.float_model
    return made(sources)


class _OpenVinoRunner:
    """An infer request a thread: requests, unlike what they run, may not be shared."""

    def __init__(self, compiled: Any, layers: int, precision: str) -> None:
        self._compiled = compiled
        self._layers = layers
        self._names = [value.get_any_name() for value in compiled.inputs]
        self._requests = threading.local()
        self.settings = {
            "device": ", ".join(compiled.get_property("EXECUTION_DEVICES")),
            "precision": precision,
            "threads": compiled.get_property("INFERENCE_NUM_THREADS"),
            "streams": compiled.get_property("NUM_STREAMS"),
            "performance_hint": str(compiled.get_property("PERFORMANCE_HINT")).rpartition(".")[2],
        }

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: float | None,
    ) -> Answer:
        """Classify a padded batch."""
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        logits = request.infer({name: given[name] for name in self._names})[0]
        return logits.copy(), np.full(len(logits), self._layers)
