"""The backbone as graphs: the embeddings, and a transformer layer.

The graphs are written node by node rather than traced, which is possible because the layers of every family are BERT's.
So a stage has no ``Shape`` arithmetic, the mask is computed once for all layers, and the attention scale is part of the
query weights. `fastbert.export.verification.compare` compares each export with PyTorch on real rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.exit_heads import MASKED
from fastbert.export.graphs.activations import add_activation
from fastbert.export.graphs.writer import Graph
from fastbert.families import family_of
from fastbert.modeling import FastBertForSequenceClassification


def weights_of(module: Any) -> dict[str, NDArray[np.float32]]:
    """Return a module's parameters as float32 arrays; weights of linear layers are [outputs, inputs], as in PyTorch."""
    return {name: value.detach().float().cpu().numpy() for name, value in module.state_dict().items()}


def add_embeddings(
    graph: Graph, model: FastBertForSequenceClassification, ids: str, mask: str, types: str
) -> tuple[str, str]:
    """Add the embeddings.

    :param ids: token ids, int64 [batch, sequence].
    :param mask: int64 [batch, sequence], 1 for tokens and 0 for padding.
    :param types: token types, int64 [batch, sequence].
    :returns: names of the hidden states, float [batch, sequence, hidden], and of the extended attention mask, float
        [batch, 1, 1, sequence]: 0 for tokens, `MASKED` for padding.
    """
    graph.scope("embeddings")
    config = model.config.backbone_config
    weights = weights_of(model.backbone.embeddings)
    positions = weights["position_embeddings.weight"]
    if "task_type_embeddings.weight" in weights:  # ERNIE: every row has task 0, so it is added to the positions
        positions = positions + weights["task_type_embeddings.weight"][0]
    table = graph.weight("positions", positions)
    words = graph.op("Gather", graph.weight("words", weights["word_embeddings.weight"]), ids, name="words")
    segments = graph.op("Gather", graph.weight("types", weights["token_type_embeddings.weight"]), types, name="types")
    if family_of(config).positions == "absolute":
        length = graph.op("Shape", ids, start=1, end=2)
        places = graph.op("Slice", table, graph.ints([0]), length, graph.ints([0]), name="positions")
    else:
        places = graph.op("Gather", table, _positions_after_padding(graph, ids, int(config.pad_token_id)))
    total = graph.op("Add", graph.op("Add", words, segments), places)
    hidden_states = _add_norm(graph, model, total, "LayerNorm", weights)
    if hasattr(model.backbone, "embeddings_project"):
        project = weights_of(model.backbone.embeddings_project)
        hidden_states = graph.linear(hidden_states, "project", project["weight"].T, project["bias"])
    values = graph.weight("mask", np.array([MASKED, 0.0], dtype=np.float32))
    wide = graph.op("Unsqueeze", mask, graph.ints([1, 2]))
    return hidden_states, graph.op("Gather", values, wide, name="extended_attention_mask")


def _positions_after_padding(graph: Graph, ids: str, padding: int) -> str:
    """Add RoBERTa's position ids: ``padding`` for padding; other tokens are counted from ``padding + 1``."""
    token = graph.cast(graph.op("Not", graph.op("Equal", ids, graph.ints(padding))), "int64")
    count = graph.op("CumSum", token, graph.ints(1))
    return graph.op("Add", graph.op("Mul", count, token), graph.ints(padding), name="position_ids")


def add_layer(graph: Graph, model: FastBertForSequenceClassification, layer: int, hidden: str, mask: str) -> str:
    """Add transformer layer ``layer``: hidden_states [batch, sequence, hidden] -> the same shape."""
    graph.scope(f"layer_{layer:02d}")
    config = model.config.backbone_config
    weights = weights_of(model.backbone.encoder.layer[layer])
    heads, width = int(config.num_attention_heads), int(config.hidden_size)
    scale = np.float32((width // heads) ** -0.5)  # 1 / sqrt(d) of softmax(q k^T / sqrt(d)), folded into q's weights

    def split(value: str, perm: list[int]) -> str:
        # 0 keeps a dimension unchanged, without a Shape node
        return graph.op("Transpose", graph.op("Reshape", value, graph.ints([0, 0, heads, width // heads])), perm=perm)

    def linear(value: str, name: str) -> str:
        return graph.linear(value, name, weights[f"{name}.weight"].T, weights[f"{name}.bias"])

    def norm(value: str, name: str) -> str:
        return _add_norm(graph, model, value, name, weights)

    query = graph.linear(
        hidden, "query", weights["attention.self.query.weight"].T * scale, weights["attention.self.query.bias"] * scale
    )
    # No key bias: it adds the same q . b to all scores of a query, which does not change their softmax.
    key = graph.linear(hidden, "key", weights["attention.self.key.weight"].T, None)
    value = split(linear(hidden, "attention.self.value"), [0, 2, 1, 3])  # [batch, heads, sequence, d]
    query, key = split(query, [0, 2, 1, 3]), split(key, [0, 2, 3, 1])
    scores = graph.op("Add", graph.op("MatMul", query, key, name="scores"), mask)
    context = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value, name="context")
    context = graph.op("Reshape", graph.op("Transpose", context, perm=[0, 2, 1, 3]), graph.ints([0, 0, width]))
    attended = norm(graph.op("Add", linear(context, "attention.output.dense"), hidden), "attention.output.LayerNorm")
    inner = add_activation(graph, linear(attended, "intermediate.dense"), config.hidden_act)
    return norm(graph.op("Add", linear(inner, "output.dense"), attended), "output.LayerNorm")


def _add_norm(
    graph: Graph, model: FastBertForSequenceClassification, value: str, name: str, weights: dict[str, Any]
) -> str:
    add = {"standard": graph.layer_norm, "unbiased": graph.unbiased_layer_norm}[model.config.layer_norm]
    epsilon = float(model.config.backbone_config.layer_norm_eps)
    return add(value, name, weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)
