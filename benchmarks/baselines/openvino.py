"""The whole model in OpenVINO, compiled once with dynamic batch and sequence.

Shapes stay dynamic, as for every other system: real rows have many lengths, and a server compiles once. It gets the
latency hint and the budget's threads. For int8 it gets what its own users run: weights and activations quantized after
training by NNCF, calibrated on the rows that the bundle's int8 is. It runs the graph of ``quantize_dynamic`` far more
slowly (docs/performance.md#baselines).
"""

import functools
import logging
import threading
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines.nncf_quantization import quantize
from fastbert.benchmarks.baselines.onnx_graphs import float_model
from fastbert.benchmarks.baselines.runner import WholeModelRunner, graph_inputs
from fastbert.benchmarks.systems import Budget, Runner, Sources
from fastbert.export.golden import CALIBRATION_ROWS, GOLDEN, read_golden
from fastbert.runtime.errors import EngineError
from fastbert.runtime.manifest import read_manifest

_log = logging.getLogger(__name__)

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}  # for all that is not quantized
_NEEDS = {"bfloat16": "BF16", "int8": "INT8"}


def prepare(sources: Sources, *, precision: str) -> None:
    """Write the graph; int8 takes NNCF seconds to minutes.

    :raises EngineError: OpenVINO does not support the precision on this processor, or NNCF cannot quantize the graph.
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
    compiled = _core().compile_model(str(_graph(sources, precision)), "CPU", config)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != _PRECISIONS[precision]:
        raise EngineError(f"OpenVINO compiled for {used} instead of {_PRECISIONS[precision]}.")
    settings: dict[str, Any] = {"precision": used}
    if precision == "int8":
        rows = min(len(read_golden(sources.bundle / GOLDEN).texts), CALIBRATION_ROWS)
        settings = {
            "precision": f"int8, else {used}",
            "quantized_by": f"nncf {version('nncf')}",
            "calibration_rows": rows,
        }
    return _OpenVinoRunner(compiled, manifest.layers, settings)


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
    model = float_model(sources)
    if precision != "int8":
        return model
    path = sources.folder / "whole-nncf-int8.xml"
    if not path.exists():
        _log.info("openvino-int8: NNCF quantizes the whole model")
        quantize(model, sources.bundle / GOLDEN, path)
    return path


class _OpenVinoRunner(WholeModelRunner):
    """One infer request per thread: threads may share the compiled model, but not a request."""

    def __init__(self, compiled: Any, layers: int, precision: Mapping[str, Any]) -> None:
        settings = {
            "device": ", ".join(compiled.get_property("EXECUTION_DEVICES")),
            **precision,
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
