"""Graphs whose backbone multiplies in int8 on a CPU.

Weights are int8 per output channel, symmetric. Activations are uint8 per tensor, between the smallest and the largest
value seen on real rows. So a text's answer does not depend on the texts beside it, as it does where scales are found
at run time over a whole batch (``quantize_dynamic``), and a run need not look for them. Exit heads stay in float32:
they are small, and the uncertainty rests on them. The operator is ONNX Runtime's own, into which it would turn the
standard's at every load.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from fastbert.export.calibration import ProductNotes, calibrated_graphs
from fastbert.export.golden import Golden
from fastbert.export.graph import Graph
from fastbert.export.stages import StagePlan
from fastbert.modeling import FastBertForSequenceClassification

__all__ = ["Int8Graph", "Range", "int8_graphs", "quantize_weight"]


@dataclass(frozen=True)
class Range:
    """How an activation becomes uint8: ``rint(value / scale) + zero_point``, cut to 0..255."""

    scale: float
    zero_point: int


class Int8Graph(Graph):
    """A graph that writes the linear layers of the backbone in int8.

    :param ranges: product -> that of what it reads; None: none are known yet, write float32.
    """

    def __init__(self, ranges: Mapping[str, Range] | None, name: str) -> None:
        super().__init__(name)
        self._ranges = ranges
        self._quantized: dict[str, str] = {}
        self.notes = ProductNotes()

    def linear(self, value: str, name: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> str:
        """``value @ weight + bias`` with both factors in int8."""
        if not self.in_scope("layer_"):
            return super().linear(value, name, weight, bias)
        product = self._scope + name
        self.notes.note(product, value, weight)
        if self._ranges is None:
            return super().linear(value, name, weight, bias)
        known = self._ranges[product]
        scale, zero_point = self.floats(known.scale), self._shared(np.asarray(known.zero_point, dtype=np.uint8))
        if value not in self._quantized:
            self._quantized[value] = self.op("QuantizeLinear", value, scale, zero_point, name=f"{name}.quantize")
        integers, scales = quantize_weight(weight)
        inputs = [self._quantized[value], self.weight(f"{name}.weight", integers), scale]
        inputs += [self.weight(f"{name}.scale", scales), zero_point, ""]
        if bias is not None:
            inputs.append(self.weight(f"{name}.bias", bias))
        return self.onnxruntime_op("MatMulIntegerToFloat", *inputs, name=name)


def int8_graphs(
    model: FastBertForSequenceClassification, plan: Sequence[StagePlan], golden: Golden
) -> Iterator[ModelProto]:
    """Write the embeddings and every stage, calibrated on the first golden rows."""
    return calibrated_graphs(model, plan, golden, graph_type=Int8Graph, embeddings_type=Graph, judge=_range)


def _range(values: NDArray[np.float32], largest_weights: NDArray[np.float32]) -> Range:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = float(np.float32(max(high - low, 1e-6) / 255))
    return Range(scale, round(-low / scale))


def quantize_weight(weight: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a weight to int8, symmetric per output channel: ``weight ~ integers * scales``.

    :param weight: float [inputs, outputs].
    :returns: int8 [inputs, outputs] in -127..127, float32 [outputs].
    """
    largest = np.abs(weight).max(axis=0)
    scales = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    return np.clip(np.rint(weight / scales), -127, 127).astype(np.int8), scales
