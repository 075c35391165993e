"""The types that a TensorRT engine computes in, from its inspector's report.

An engine that silently computes in float32 builds and answers correctly, but is slow. So the share of layers in low
precision is measured, and an engine with too few is refused.
"""

import json
from typing import Any

MIN_LOW_PRECISION = 0.5  # of the layers with floats; the end of the exit head and the uncertainty are float32
_LOW = ("half", "fp16", "float16", "int8", "fp8")
_FLOAT = ("float", "fp32")


def low_precision_share(report: str) -> float | None:
    """Return the share of layers with a float16 or int8 tensor, among those with any float tensor.

    :param report: JSON of ``EngineInspector.get_engine_information``. It names types only if the engine was built
        with detailed profiling verbosity and is inspected through a context whose input shapes are set.
    :returns: share in [0, 1]; None: the report names no types.
    """
    low = floating = 0
    for layer in json.loads(report)["Layers"]:
        types = _types(layer)
        if any(name in kind for kind in types for name in _LOW):
            low += 1
            floating += 1
        elif any(name in kind for kind in types for name in _FLOAT):
            floating += 1
    return low / floating if floating else None


def _types(layer: Any) -> list[str]:
    if not isinstance(layer, dict):  # with lower verbosity, a layer is only a name
        return []
    tensors = [*layer.get("Inputs", []), *layer.get("Outputs", [])]
    return [str(tensor.get("Format/Datatype", tensor.get("Datatype", ""))).lower() for tensor in tensors]
