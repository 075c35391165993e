"""Graphs that multiply in int8, scaled by how large the backbone's activations are on real rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, helper

from fastbert.export.golden import CALIBRATION_ROWS, Golden
from fastbert.export.graphs.stages import StagePlan, embeddings_graph, stage_graph
from fastbert.export.graphs.writer import Graph
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.engines.cpu.sessions import session_options

_BATCH = 32
_R = TypeVar("_R")  # how one activation is rounded


class MatMulRecorder:
    """Records, per matrix product of a graph, the activation that it reads and its weight.

    :param activations: product -> the activation that it reads.
    :param weights: activation -> the weights [inputs, outputs] of all products that read it.
    """

    def __init__(self) -> None:
        self.activations: dict[str, str] = {}
        self.weights: dict[str, list[NDArray[np.float32]]] = {}

    def record(self, product: str, activation: str, weight: NDArray[Any]) -> None:
        """Record a product of ``activation`` and ``weight`` [inputs, outputs]."""
        self.activations[product] = activation
        self.weights.setdefault(activation, []).append(weight)


class CalibratedGraph(Graph, Generic[_R]):
    """A graph that is written twice: in floats, to record its products, then with the backbone's products in int8.

    :param roundings: product -> rounding of the activation that it reads; None: write floats.
    """

    in_floats: tuple[str, ...] = ()  # linear layers of the backbone that are never int8

    def __init__(self, roundings: Mapping[str, _R] | None, name: str) -> None:
        super().__init__(name)
        self.recorder = MatMulRecorder()
        self._roundings = roundings
        self._rounded: dict[str, str] = {}  # activation -> its rounded value, which several products may read

    def linear(self, value: str, name: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> str:
        """Add ``value @ weight + bias``, in the backbone with both factors in int8."""
        if not self.in_scope("layer_") or name in self.in_floats:
            return super().linear(value, name, weight, bias)
        product = self._scope + name
        self.recorder.record(product, value, weight)
        if self._roundings is None:
            return super().linear(value, name, weight, bias)
        rounding = self._roundings[product]
        if value not in self._rounded:
            self._rounded[value] = self.round(value, name, rounding)
        return self.int8_linear(value, self._rounded[value], name, weight, bias, rounding)

    def round(self, value: str, name: str, rounding: _R) -> str:
        """Add the rounding of an activation."""
        raise NotImplementedError

    def int8_linear(
        self, value: str, rounded: str, name: str, weight: NDArray[Any], bias: NDArray[Any] | None, rounding: _R
    ) -> str:
        """Add the product of an activation, ``value`` in floats and ``rounded``, and a weight [inputs, outputs]."""
        raise NotImplementedError


# (an activation [tokens, inputs] without padding, weights [inputs, outputs] of all products that read it) -> rounding
_Choose = Callable[[NDArray[np.float32], list[NDArray[np.float32]]], _R]


def calibrated_graphs(
    model: FastBertForSequenceClassification,
    plan: Sequence[StagePlan],
    golden: Golden,
    *,
    graph_type: Callable[[Mapping[str, _R] | None, str], CalibratedGraph[_R]],
    embeddings_type: type[Graph],
    choose: _Choose[_R],
) -> Iterator[ModelProto]:
    """Write the embeddings and every stage, calibrated on the first golden rows.

    Each stage is calibrated on the outputs of the quantized stages before it.
    """
    embeddings = embeddings_graph(model, embeddings_type)
    yield embeddings
    batches = _embed(embeddings, golden)
    for stage in plan:
        roundings = _calibrate(model, stage, batches, graph_type, choose)
        graph = stage_graph(model, stage, partial(graph_type, roundings))
        yield graph
        session = _session(graph)
        for batch in batches:
            batch.feeds["hidden_states"] = session.run(["next_hidden_states"], batch.feeds)[0]


@dataclass(frozen=True)
class _Batch:
    """Rows on their way through the stages.

    :param visible: bool [batch, sequence], true for tokens.
    :param feeds: inputs of the next stage.
    """

    visible: NDArray[np.bool_]
    feeds: dict[str, NDArray[Any]]


def _embed(embeddings: ModelProto, golden: Golden) -> list[_Batch]:
    session, batches = _session(embeddings), []
    for start in range(0, min(len(golden.input_ids), CALIBRATION_ROWS), _BATCH):
        part = slice(start, min(start + _BATCH, CALIBRATION_ROWS))
        ids = {name: getattr(golden, name)[part] for name in ("input_ids", "attention_mask", "token_type_ids")}
        names = ["hidden_states", "extended_attention_mask"]
        batches.append(_Batch(ids["attention_mask"] > 0, dict(zip(names, session.run(names, ids), strict=True))))
    return batches


def _calibrate(
    model: FastBertForSequenceClassification,
    stage: StagePlan,
    batches: Sequence[_Batch],
    graph_type: Callable[[Mapping[str, _R] | None, str], CalibratedGraph[_R]],
    choose: _Choose[_R],
) -> dict[str, _R]:
    """Run one stage in floats; return product -> rounding of the activation that it reads."""
    written: list[CalibratedGraph[_R]] = []

    def in_floats(name: str) -> Graph:
        written.append(graph_type(None, name))
        return written[0]

    graph = stage_graph(model, stage, in_floats)
    recorder = written[0].recorder
    inner = sorted(set(recorder.activations.values()) - {"hidden_states"})
    dtype = graph.graph.input[0].type.tensor_type.elem_type
    graph.graph.output.extend(helper.make_tensor_value_info(name, dtype, None) for name in inner)
    session = _session(graph)
    values: dict[str, list[NDArray[Any]]] = {name: [] for name in ("hidden_states", *inner)}
    for batch in batches:
        outputs = dict(zip(inner, session.run(inner, batch.feeds), strict=True))
        for name in values:
            values[name].append(outputs.get(name, batch.feeds["hidden_states"])[batch.visible])
    chosen = {name: choose(np.concatenate(values[name]).astype(np.float32), recorder.weights[name]) for name in values}
    return {product: chosen[activation] for product, activation in recorder.activations.items()}


def _session(graph: ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    if any(node.op_type == "MatMulIntegerToFloat" for node in graph.graph.node):
        # Products must not saturate here either (onnxruntime#6004, onnxruntime#12088). Only for these graphs: ONNX
        # Runtime 1.32 computes Q/DQ graphs wrongly with the same option (not reported upstream).
        options = session_options(onnxruntime, threads=None)
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
