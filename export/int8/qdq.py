"""Graphs for TensorRT in int8: symmetric QuantizeLinear / DequantizeLinear around the products of the backbone.

TensorRT 11 has no calibrators: the scales are in the graph. Weights are int8 per output channel, activations int8 with
one scale each, chosen on real rows; everything between is float16. Channels of an activation that are far larger than
the others are divided by a factor that their weights are multiplied by (SmoothQuant, arXiv 2211.10438, equation 4,
alpha 0.5); an engine merges the division with the operation before it. Two things stay in float16: the product that
reads the output of the activation function, whose few large values would cause most of the error, and the exit heads,
because the uncertainty depends on them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from fastbert.export.golden import Golden
from fastbert.export.graphs.float16 import Float16Graph
from fastbert.export.graphs.stages import StagePlan
from fastbert.export.int8.calibration import CalibratedGraph, calibrated_graphs
from fastbert.export.int8.rounding import FULL, quantize_weight, smoothing
from fastbert.modeling import FastBertForSequenceClassification

_SHARES = np.linspace(0.2, 1.0, 33)  # of the largest value: the ranges that are tried
_SAMPLE = 200_000  # values that one scale is chosen on
_SMALLEST_SCALE = 2.0**-14  # the smallest normal float16


@dataclass(frozen=True)
class SymmetricRounding:
    """How an activation becomes int8: ``rint(value / smooth / scale)``.

    :param smooth: float32 [inputs]; the rows of the weights are multiplied by it.
    """

    scale: float
    smooth: NDArray[np.float32]


class _QdqGraph(CalibratedGraph[SymmetricRounding], Float16Graph):
    """A float16 graph that writes most linear layers of the backbone in int8."""

    in_floats = ("output.dense",)  # reads the output of the activation function

    def round(self, value: str, name: str, rounding: SymmetricRounding) -> str:
        """Add the smoothing, ``QuantizeLinear`` and ``DequantizeLinear``."""
        scale, zero = self.floats(rounding.scale), self._shared(np.zeros((), np.int8))
        smooth = self.op("Mul", value, self.weight(f"{name}.smooth", 1 / rounding.smooth), name=f"{name}.smooth")
        quantized = self.op("QuantizeLinear", smooth, scale, zero, name=f"{name}.quantize")
        return self.op("DequantizeLinear", quantized, scale, zero, name=f"{name}.dequantize")

    def int8_linear(
        self,
        value: str,
        rounded: str,
        name: str,
        weight: NDArray[Any],
        bias: NDArray[Any] | None,
        rounding: SymmetricRounding,
    ) -> str:
        """Add ``MatMul`` with a weight that is int8 before ``DequantizeLinear``."""
        weight = weight * rounding.smooth[:, None]
        scales = np.maximum(quantize_weight(weight)[1], _SMALLEST_SCALE).astype(np.float16)
        integers = np.clip(np.rint(weight / scales.astype(np.float32)), -FULL, FULL).astype(np.int8)
        names = self.weight(f"{name}.weight", integers), self.weight(f"{name}.scale", scales)
        factor = self.op("DequantizeLinear", *names, name=f"{name}.weight", axis=1)
        result = self.op("MatMul", rounded, factor, name=name)
        return result if bias is None else self.op("Add", result, self.weight(f"{name}.bias", bias))


def qdq_graphs(
    model: FastBertForSequenceClassification, plan: Sequence[StagePlan], golden: Golden
) -> Iterator[ModelProto]:
    """Write the embeddings and every stage, calibrated on the first golden rows."""
    return calibrated_graphs(model, plan, golden, graph_type=_QdqGraph, embeddings_type=Float16Graph, choose=_choose)


def best_scale(values: NDArray[Any]) -> float:
    """Return the scale of symmetric int8 rounding with the least squared error; outliers may be clipped for it."""
    sizes = np.abs(values.astype(np.float32).ravel())
    if len(sizes) > _SAMPLE:
        sizes = np.random.default_rng(0).choice(sizes, _SAMPLE, replace=False)
    largest = float(sizes.max(initial=0.0))
    if largest == 0.0:
        return 1.0

    def error(scale: float) -> float:
        return float(np.square(np.minimum(np.rint(sizes / scale), FULL) * scale - sizes).sum())

    return max(min((largest * float(share) / FULL for share in _SHARES), key=error), _SMALLEST_SCALE)


def _choose(values: NDArray[np.float32], weights: Sequence[NDArray[np.float32]]) -> SymmetricRounding:
    """Smooth, then choose the scale: values [tokens, inputs], weights [inputs, outputs] each."""
    smooth = smoothing(values, np.concatenate(weights, axis=1), 0.5)
    smooth = np.reciprocal(np.reciprocal(smooth).astype(np.float16).astype(np.float32))  # as in the graph
    return SymmetricRounding(best_scale(values / smooth), smooth)
