"""Graphs for TensorRT in int8: symmetric QuantizeLinear / DequantizeLinear around the products of the backbone.

TensorRT 11 has no calibrators: the scales are in the graph. Weights are int8 per output channel, activations int8 with
one scale each, found on real rows; what lies between is float16. Channels of an activation that are far larger than the
others are first made smaller, and their weights as much larger (SmoothQuant, arXiv 2211.10438, equation 4, alpha 0.5):
a multiplication, which an engine joins with what comes before it. Two things stay in float16: the product that reads
the activation function's output, whose few large values would make most of all error, and exit heads, on which the
uncertainty rests.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from fastbert.export.golden import Golden
from fastbert.export.graphs.float16 import Float16Graph
from fastbert.export.graphs.stages import StagePlan
from fastbert.export.int8.calibration import ProductNotes, calibrated_graphs
from fastbert.export.int8.rounding import quantize_weight, smoothing
from fastbert.modeling import FastBertForSequenceClassification

__all__ = ["QdqGraph", "Rounding", "best_scale", "qdq_graphs"]

_SHARES = np.linspace(0.2, 1.0, 33)  # of the largest value: where a scale may cut
_SAMPLE = 200_000  # values looked at for one scale
_SMALLEST_SCALE = 2.0**-14  # float16 loses digits below
_FLOAT16 = ("output.dense",)  # it reads the activation function's output


@dataclass(frozen=True)
class Rounding:
    """How an activation becomes int8: ``rint(value / smooth / scale)``.

    :param smooth: float32 [inputs]; the weights that are multiplied with it take ``smooth`` as a factor.
    """

    scale: float
    smooth: NDArray[np.float32]


class QdqGraph(Float16Graph):
    """A float16 graph whose backbone multiplies in int8, but for `_FLOAT16`.

    :param roundings: product -> that of what it reads; None: none are known yet, write float16.
    """

    def __init__(self, roundings: Mapping[str, Rounding] | None, name: str) -> None:
        super().__init__(name)
        self._roundings = roundings
        self._quantized: dict[str, str] = {}
        self.notes = ProductNotes()

    def linear(self, value: str, name: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> str:
        """``value @ weight + bias`` with both factors rounded to int8."""
        if not self.in_scope("layer_") or name in _FLOAT16:
            return super().linear(value, name, weight, bias)
        product = self._scope + name
        self.notes.note(product, value, weight)
        if self._roundings is None:
            return super().linear(value, name, weight, bias)
        rounding = self._roundings[product]
        if value not in self._quantized:
            scale, zero = self.floats(rounding.scale), self._shared(np.zeros((), np.int8))
            smooth = self.op("Mul", value, self.weight(f"{name}.smooth", 1 / rounding.smooth), name=f"{name}.smooth")
            rounded = self.op("QuantizeLinear", smooth, scale, zero, name=f"{name}.quantize")
            self._quantized[value] = self.op("DequantizeLinear", rounded, scale, zero, name=f"{name}.dequantize")
        weight = weight * rounding.smooth[:, None]
        scales = np.maximum(quantize_weight(weight)[1], _SMALLEST_SCALE).astype(np.float16)
        integers = np.clip(np.rint(weight / scales.astype(np.float32)), -127, 127).astype(np.int8)
        names = self.weight(f"{name}.weight", integers), self.weight(f"{name}.scale", scales)
        factor = self.op("DequantizeLinear", *names, name=f"{name}.weight", axis=1)
        result = self.op("MatMul", self._quantized[value], factor, name=name)
        return result if bias is None else self.op("Add", result, self.weight(f"{name}.bias", bias))


def qdq_graphs(
    model: FastBertForSequenceClassification, plan: Sequence[StagePlan], golden: Golden
) -> Iterator[ModelProto]:
    """Write the embeddings and every stage, calibrated on the first golden rows."""
    return calibrated_graphs(model, plan, golden, graph_type=QdqGraph, embeddings_type=Float16Graph, judge=_rounding)


def best_scale(values: NDArray[Any]) -> float:
    """Return the scale of a symmetric int8 rounding with the least squared error: outliers are cut where that pays."""
    sizes = np.abs(values.astype(np.float32).ravel())
    if len(sizes) > _SAMPLE:
        sizes = np.random.default_rng(0).choice(sizes, _SAMPLE, replace=False)
    largest = float(sizes.max(initial=0.0))
    if largest == 0.0:
        return 1.0

    def error(scale: float) -> float:
        return float(np.square(np.minimum(np.rint(sizes / scale), 127) * scale - sizes).sum())

    return max(min((largest * float(share) / 127 for share in _SHARES), key=error), _SMALLEST_SCALE)


def _rounding(values: NDArray[np.float32], weights: Sequence[NDArray[np.float32]]) -> Rounding:
    """Smooth, then find the scale: values [tokens, inputs], weights [inputs, outputs] each."""
    smooth = smoothing(values, np.concatenate(weights, axis=1), 0.5)
    smooth = np.reciprocal(np.reciprocal(smooth).astype(np.float16).astype(np.float32))  # as it is in the graph
    return Rounding(best_scale(values / smooth), smooth)
