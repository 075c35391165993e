"""What can be checked of a network, its profiles and its plan: here without a GPU, but for the types of layers.

An engine that silently computes in float32 builds and answers correctly, but is slow. So the share of layers in low
precision is measured where the library reports it, and an engine with too few is refused.
"""

import json
from collections.abc import Mapping
from typing import Any

from fastbert.export.tensorrt.interface import FLOAT, Limits, interface_of
from fastbert.runtime import tensors

MIN_LOW_PRECISION = 0.5  # of the layers with floats; the end of the exit head and the uncertainty are float32
_LOW = ("half", "fp16", "float16", "int8", "fp8")
_FLOAT = ("float", "fp32")
_FLOATS = ("HALF", "FLOAT")  # what `FLOAT` may be


def network_problems(trt: Any, network: Any, graph: str, *, hidden_size: int) -> list[str]:
    """Compare a parsed network with what the chain needs of this engine.

    :param graph: as in `fastbert.export.tensorrt.interface.interface_of`.
    :returns: what differs, one text each; empty: nothing.
    """
    interface = interface_of(graph)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    problems = _tensor_problems(trt, "inputs", inputs, interface.inputs)
    if interface.outputs is not None:
        problems += _tensor_problems(trt, "outputs", outputs, interface.outputs)
        floats = {
            tensor.dtype.name
            for tensor in (*inputs, *outputs)
            if FLOAT in (interface.inputs.get(tensor.name), interface.outputs.get(tensor.name))
        }
        if len(floats) > 1:
            problems.append("its hidden states and masks are of different types")
    for tensor in inputs:
        if tensor.name == tensors.HIDDEN_STATES and tuple(tensor.shape)[-1:] != (hidden_size,):
            problems.append(f"{tensor.name} has the shape {list(tensor.shape)}, which must end with {hidden_size}")
    return problems


def _tensor_problems(trt: Any, what: str, found: list[Any], wanted: Mapping[str, str]) -> list[str]:
    names = sorted(tensor.name for tensor in found)
    if names != sorted(wanted):
        return [f"its {what} are {', '.join(names) or 'none'}, not {', '.join(sorted(wanted))}"]
    problems = []
    for tensor in found:
        kind = wanted[tensor.name]
        allowed = _FLOATS if kind == FLOAT else (kind,)
        if tensor.dtype not in [getattr(trt.DataType, name) for name in allowed]:
            problems.append(f"{tensor.name} is of type {tensor.dtype.name}, not {' or '.join(allowed)}")
    return problems


def profile_problems(profile: Any, wanted: Mapping[str, Limits]) -> list[str]:
    """Compare a profile that the library has taken with the shapes that the chain runs."""
    problems = []
    for name, limits in wanted.items():
        found = [tuple(shape) for shape in profile.get_shape(name)]
        expected = [limits.smallest, limits.tuned, limits.largest]
        if found != expected:
            problems.append(f"its profile has the shapes {found} for {name}, not {expected}")
    return problems


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
