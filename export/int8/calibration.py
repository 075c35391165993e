"""How large the backbone's activations are on real rows, product by product: what int8 graphs are scaled by."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, helper

from fastbert.export.golden import Golden
from fastbert.export.graphs.stages import StagePlan, embeddings_graph, stage_graph
from fastbert.export.graphs.writer import Graph
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.engines.cpu.sessions import session_options

__all__ = ["CALIBRATION_ROWS", "ProductNotes", "calibrated_graphs"]

CALIBRATION_ROWS = 128
_BATCH = 32
M = TypeVar("M")


class ProductNotes:
    """What a graph's products read and weigh; for graphs that can be written in floats first, and in int8 then.

    Such a graph is made with (product -> what is known of the activation that it reads, or None; the graph's name).
    """

    def __init__(self) -> None:
        self.products: dict[str, str] = {}  # product -> the value that it reads
        self.weights: dict[str, list[NDArray[np.float32]]] = {}  # value -> those of all products that read it

    def note(self, product: str, value: str, weight: NDArray[Any]) -> None:
        """Note a product of ``value`` and ``weight`` [inputs, outputs]."""
        self.products[product] = value
        self.weights.setdefault(value, []).append(weight)


def calibrated_graphs(
    model: FastBertForSequenceClassification,
    plan: Sequence[StagePlan],
    golden: Golden,
    *,
    graph_type: Callable[..., Any],
    embeddings_type: type[Graph],
    judge: Callable[[NDArray[np.float32], list[NDArray[np.float32]]], M],
) -> Iterator[ModelProto]:
    """Write the embeddings and every stage; each stage is calibrated on what the quantized ones before it give.

    :param golden: its first `CALIBRATION_ROWS` rows are calibrated on.
    :param graph_type: a graph that has `notes`, see `ProductNotes`.
    :param judge: (an activation [tokens, inputs] without padding, the weights [inputs, outputs] of all products that
        read it) -> what the graph needs.
    """
    embeddings = embeddings_graph(model, embeddings_type)
    yield embeddings
    batches = _embed(embeddings, golden)
    for stage in plan:
        known = _observe(model, stage, batches, graph_type, judge)
        graph = stage_graph(model, stage, partial(graph_type, known))
        yield graph
        session = _session(graph)
        for batch in batches:
            batch.feeds["hidden_states"] = session.run(["next_hidden_states"], batch.feeds)[0]


class _Batch:
    """Rows on their way through the stages.

    :param visible: bool [batch, sequence]: where tokens are.
    :param feeds: what the next stage reads.
    """

    def __init__(self, visible: NDArray[np.bool_], feeds: dict[str, NDArray[Any]]) -> None:
        self.visible = visible
        self.feeds = feeds


def _embed(embeddings: ModelProto, golden: Golden) -> list[_Batch]:
    session, batches = _session(embeddings), []
    for start in range(0, min(len(golden.input_ids), CALIBRATION_ROWS), _BATCH):
        part = slice(start, min(start + _BATCH, CALIBRATION_ROWS))
        ids = {name: getattr(golden, name)[part] for name in ("input_ids", "attention_mask", "token_type_ids")}
        names = ["hidden_states", "extended_attention_mask"]
        batches.append(_Batch(ids["attention_mask"] > 0, dict(zip(names, session.run(names, ids), strict=True))))
    return batches


def _observe(
    model: FastBertForSequenceClassification,
    stage: StagePlan,
    batches: Sequence[_Batch],
    graph_type: Callable[..., Any],
    judge: Callable[[NDArray[np.float32], list[NDArray[np.float32]]], M],
) -> dict[str, M]:
    """Return product -> what is known of the activation that it reads, for one stage."""
    probes: list[Any] = []

    def probe(name: str) -> Any:
        probes.append(graph_type(None, name))
        return probes[0]

    graph = stage_graph(model, stage, probe)
    [noted] = probes
    inner = sorted(set(noted.notes.products.values()) - {"hidden_states"})
    dtype = graph.graph.input[0].type.tensor_type.elem_type
    graph.graph.output.extend(helper.make_tensor_value_info(name, dtype, None) for name in inner)
    session = _session(graph)
    seen: dict[str, list[NDArray[Any]]] = {name: [] for name in ("hidden_states", *inner)}
    for batch in batches:
        found = dict(zip(inner, session.run(inner, batch.feeds), strict=True))
        for name in seen:
            seen[name].append(found.get(name, batch.feeds["hidden_states"])[batch.visible])
    known = {name: judge(np.concatenate(seen[name]).astype(np.float32), noted.notes.weights[name]) for name in seen}
    return {product: known[value] for product, value in noted.notes.products.items()}


def _session(graph: ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    if any(node.op_type == "MatMulIntegerToFloat" for node in graph.graph.node):
        # whose products must not saturate here either; of Q/DQ graphs, ONNX Runtime 1.32 makes nonsense with this entry
        options = session_options(onnxruntime, threads=None)
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
