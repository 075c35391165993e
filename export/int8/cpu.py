"""Graphs whose backbone multiplies in int8 on a CPU.

How values are rounded is settled on real rows (`fastbert.export.int8.rounding`). So a text's answer does not depend on
the texts beside it, as it does where scales are found at run time over a whole batch (``quantize_dynamic``), and a run
need not look for them. Exit heads stay in float32: they are small, and the uncertainty rests on them. The operator is
ONNX Runtime's own, into which it would turn the standard's at every load.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from fastbert.export.golden import Golden
from fastbert.export.graphs.stages import StagePlan
from fastbert.export.graphs.writer import Graph
from fastbert.export.int8.calibration import ProductNotes, calibrated_graphs
from fastbert.export.int8.rounding import FULL, Rounding, choose_rounding
from fastbert.modeling import FastBertForSequenceClassification

__all__ = ["Int8Graph", "int8_graphs"]


class Int8Graph(Graph):
    """A graph that writes the linear layers of the backbone in int8.

    :param roundings: product -> that of what it reads; None: none are known yet, write float32.
    """

    def __init__(self, roundings: Mapping[str, Rounding] | None, name: str) -> None:
        super().__init__(name)
        self._roundings = roundings
        self._quantized: dict[str, str] = {}
        self.notes = ProductNotes()

    def linear(self, value: str, name: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> str:
        """``value @ weight + bias`` with both factors in int8."""
        if not self.in_scope("layer_"):
            return super().linear(value, name, weight, bias)
        product = self._scope + name
        self.notes.note(product, value, weight)
        if self._roundings is None:
            return super().linear(value, name, weight, bias)
        rounding = self._roundings[product]
        scale = self.floats(rounding.scale)
        zero_point = self._shared(np.asarray(rounding.zero_point, dtype=np.uint8))
        if value not in self._quantized:
            smooth = value
            if rounding.smooth is not None:
                factors = self.weight(f"{name}.smooth", 1 / rounding.smooth)
                smooth = self.op("Mul", value, factors, name=f"{name}.smooth")
            self._quantized[value] = self.op("QuantizeLinear", smooth, scale, zero_point, name=f"{name}.quantize")
        integers, scales = rounding.weight(weight)
        inputs = [self._quantized[value], self.weight(f"{name}.weight", integers), scale]
        inputs += [self.weight(f"{name}.scale", scales), zero_point, ""]
        if bias is not None:
            inputs.append(self.weight(f"{name}.bias", bias))
        result = self.onnxruntime_op("MatMulIntegerToFloat", *inputs, name=name)
        if not rounding.outliers:
            return result
        outliers = self.op("Gather", value, self.ints(rounding.outliers), axis=-1, name=f"{name}.outliers")
        rows = self.weight(f"{name}.outliers", weight[list(rounding.outliers)])
        return self.op("Add", result, self.op("MatMul", outliers, rows, name=f"{name}.outliers"))


def int8_graphs(
    model: FastBertForSequenceClassification, plan: Sequence[StagePlan], golden: Golden, *, largest: int = FULL
) -> Iterator[ModelProto]:
    """Write the embeddings and every stage, calibrated on the first golden rows.

    :param largest: of a weight in int8; up to `REDUCED`, products saturate on no processor.
    """
    judge = partial(choose_rounding, largest=largest)
    return calibrated_graphs(model, plan, golden, graph_type=Int8Graph, embeddings_type=Graph, judge=judge)
