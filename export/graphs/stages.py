"""The graphs of a bundle: embeddings, stages of one or more layers with one exit, and compaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import ModelProto

from fastbert.export.graphs.encoder import add_embeddings, add_layer
from fastbert.export.graphs.exit_heads import add_exit, add_uncertainty
from fastbert.export.graphs.writer import Graph
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.errors import UsageError

_TOKENS = ("batch", "sequence")
_MASK = ("batch", 1, 1, "sequence")


@dataclass(frozen=True)
class StagePlan:
    """One stage: layers ``first`` to ``last`` (0-based, both included), with an exit after ``last``.

    :param measure: of the exit's uncertainty (`fastbert.uncertainty.MEASURES`); None: the checkpoint's.
    """

    first: int
    last: int
    measure: str | None = None


def plan_stages(
    layers: int, layers_per_stage: int, exits: Sequence[int] | None = None, measure: str | None = None
) -> list[StagePlan]:
    """Group layers into stages.

    :param layers: of the model.
    :param layers_per_stage: layers in each stage; the last stage may have fewer.
    :param exits: instead, the last layer of each stage. The model's last layer ends a stage in any case.
    :param measure: as in `StagePlan`.
    :raises UsageError: ``layers_per_stage`` is not in 1..layers, an exit is not in 0..layers - 1, or both are given.
    """
    if not 1 <= layers_per_stage <= layers:
        raise UsageError(f"`layers_per_stage` is {layers_per_stage}, outside 1..{layers}, the layers of this model.")
    ends: Sequence[int]
    if exits is None:
        ends = range(layers_per_stage - 1, layers, layers_per_stage)
    elif layers_per_stage != 1:
        raise UsageError("`layers_per_stage` and `exits` contradict each other; use one of them.")
    else:
        ends = exits
    outside = [layer for layer in ends if not 0 <= layer < layers]
    if outside:
        raise UsageError(f"`exits` names layer {outside[0]}; this model has the layers 0 to {layers - 1}.")
    lasts = sorted({*ends, layers - 1})
    firsts = [0, *(last + 1 for last in lasts[:-1])]
    return [StagePlan(first, last, measure) for first, last in zip(firsts, lasts, strict=True)]


def embeddings_graph(
    model: FastBertForSequenceClassification, graph_type: Callable[[str], Graph] = Graph
) -> ModelProto:
    """Return the embeddings: ids -> the first layer's input, and the mask that every layer adds to its scores."""
    graph = graph_type("embeddings")
    names = [graph.input(name, "int64", _TOKENS) for name in ("input_ids", "attention_mask", "token_type_ids")]
    hidden, mask = add_embeddings(graph, model, *names)
    graph.output(hidden, "hidden_states", graph.dtype, (*_TOKENS, model.config.backbone_config.hidden_size))
    graph.output(mask, "extended_attention_mask", graph.dtype, _MASK)
    return graph.model()


def compaction_graph(
    model: FastBertForSequenceClassification, graph_type: Callable[[str], Graph] = Graph
) -> ModelProto:
    """Return the graph that keeps the samples in ``rows``, int64 [kept], of the hidden states and of the mask.

    It removes samples on the device. It is a separate graph rather than a gather at the start of every stage, so that
    it costs nothing where no sample exits.
    """
    graph = graph_type("compaction")
    hidden = model.config.backbone_config.hidden_size
    value = graph.input("hidden_states", graph.dtype, (*_TOKENS, hidden))
    mask = graph.input("extended_attention_mask", graph.dtype, _MASK)
    rows = graph.input("rows", "int64", ("kept",))
    kept, kept_mask = graph.op("Gather", value, rows, axis=0), graph.op("Gather", mask, rows, axis=0)
    graph.output(kept, "kept_hidden_states", graph.dtype, ("kept", "sequence", hidden))
    graph.output(kept_mask, "kept_extended_attention_mask", graph.dtype, ("kept", 1, 1, "sequence"))
    return graph.model()


def stage_graph(
    model: FastBertForSequenceClassification, stage: StagePlan, graph_type: Callable[[str], Graph] = Graph
) -> ModelProto:
    """Return one stage: hidden states and mask -> hidden states, and the logits and uncertainty of its exit.

    :param graph_type: makes the graph and decides its precision; logits and uncertainty are always float32.
    """
    graph = graph_type(f"layers_{stage.first:02d}_{stage.last:02d}")
    shape = (*_TOKENS, model.config.backbone_config.hidden_size)
    # an input and an output of a graph cannot have the same name
    value = graph.input("hidden_states", graph.dtype, shape)
    mask = graph.input("extended_attention_mask", graph.dtype, _MASK)
    for layer in range(stage.first, stage.last + 1):
        value = add_layer(graph, model, layer, value, mask)
    classes = len(model.config.labels)
    logits = add_exit(graph, model.exits[stage.last], model.config.head_config(stage.last), stage.last, value, mask)
    uncertainty = add_uncertainty(graph, logits, classes, stage.measure or model.config.uncertainty)
    graph.output(value, "next_hidden_states", graph.dtype, shape)
    graph.output(logits, "logits", "float32", ("batch", classes))
    graph.output(uncertainty, "uncertainty", "float32", ("batch",))
    return graph.model()
