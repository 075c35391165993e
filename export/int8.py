"""Graphs whose backbone multiplies in int8: dynamic quantization, as onnxruntime's ``quantize_dynamic`` does it.

Weights are int8 per output channel, symmetric. Activations are uint8 per tensor, with a scale found at run time, once
for all the products that read them. Exit heads stay in float32: they are small, and the uncertainty rests on them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.export.graph import Graph

__all__ = ["Int8Graph"]


class Int8Graph(Graph):
    """A graph that writes the linear layers of the backbone in int8."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._quantized: dict[str, list[str]] = {}

    def linear(self, value: str, name: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> str:
        """``value @ weight + bias`` with ``weight`` in int8."""
        if not self.in_scope("layer_"):
            return super().linear(value, name, weight, bias)
        if value not in self._quantized:
            self._quantized[value] = self.split("DynamicQuantizeLinear", value, outputs=3, name=f"{name}.quantize")
        quantized, scale, zero_point = self._quantized[value]
        integers, scales = quantize_weight(weight)
        product = self.op("MatMulInteger", quantized, self.weight(f"{name}.weight", integers), zero_point, name=name)
        both = self.op("Mul", scale, self.weight(f"{name}.scale", scales), name=f"{name}.scale")
        result = self.op("Mul", self.op("Cast", product, to=1), both, name=f"{name}.float")
        return result if bias is None else self.op("Add", result, self.weight(f"{name}.bias", bias))


def quantize_weight(weight: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a weight to int8, symmetric per output channel: ``weight ~ integers * scales``.

    :param weight: float [inputs, outputs].
    :returns: int8 [inputs, outputs] in -127..127, float32 [outputs].
    """
    largest = np.abs(weight).max(axis=0)
    scales = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    return np.clip(np.rint(weight / scales), -127, 127).astype(np.int8), scales
