"""Graphs whose backbone multiplies in int8 on a CPU.

Scales are chosen on real rows at export (`fastbert.export.int8.rounding`) rather than per batch at run time, as
``quantize_dynamic`` does. So a text's answer does not depend on the other texts of its batch, and no run computes a
range. Exit heads stay in float32: they are small, and the uncertainty depends on them. The operator is ONNX Runtime's
own, into which it would convert the standard ones at every load.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from fastbert.export.golden import Golden
from fastbert.export.graphs.stages import StagePlan
from fastbert.export.graphs.writer import Graph
from fastbert.export.int8.calibration import CalibratedGraph, calibrated_graphs
from fastbert.export.int8.rounding import FULL, Rounding, choose_rounding
from fastbert.modeling import FastBertForSequenceClassification


class Int8Graph(CalibratedGraph[Rounding]):
    """A float32 graph that writes the linear layers of the backbone in int8."""

    def round(self, value: str, name: str, rounding: Rounding) -> str:
        """Add ``QuantizeLinear`` to uint8, after a division where the rounding smooths."""
        if rounding.smooth is not None:
            factors = self.weight(f"{name}.smooth", 1 / rounding.smooth)
            value = self.op("Mul", value, factors, name=f"{name}.smooth")
        scale, zero_point = self._scale(rounding)
        return self.op("QuantizeLinear", value, scale, zero_point, name=f"{name}.quantize")

    def int8_linear(
        self, value: str, rounded: str, name: str, weight: NDArray[Any], bias: NDArray[Any] | None, rounding: Rounding
    ) -> str:
        """Add ``MatMulIntegerToFloat``, and the product of the outlier channels in float32 where there are some."""
        integers, scales = rounding.weight(weight)
        scale, zero_point = self._scale(rounding)
        inputs = [rounded, self.weight(f"{name}.weight", integers), scale]
        inputs += [self.weight(f"{name}.scale", scales), zero_point, ""]
        if bias is not None:
            inputs.append(self.weight(f"{name}.bias", bias))
        result = self.onnxruntime_op("MatMulIntegerToFloat", *inputs, name=name)
        if not rounding.outliers:
            return result
        outliers = self.op("Gather", value, self.ints(rounding.outliers), axis=-1, name=f"{name}.outliers")
        rows = self.weight(f"{name}.outliers", weight[list(rounding.outliers)])
        return self.op("Add", result, self.op("MatMul", outliers, rows, name=f"{name}.outliers"))

    def _scale(self, rounding: Rounding) -> tuple[str, str]:
        return self.floats(rounding.scale), self._shared(np.asarray(rounding.zero_point, dtype=np.uint8))


def int8_graphs(
    model: FastBertForSequenceClassification, plan: Sequence[StagePlan], golden: Golden, *, largest: int = FULL
) -> Iterator[ModelProto]:
    """Write the embeddings and every stage, calibrated on the first golden rows.

    :param largest: largest absolute weight in int8; up to `REDUCED`, products saturate on no processor.
    """
    choose = partial(choose_rounding, largest=largest)
    return calibrated_graphs(model, plan, golden, graph_type=Int8Graph, embeddings_type=Graph, choose=choose)
