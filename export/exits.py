"""The exit heads and their uncertainty as graphs.

An attention head is folded: the same function with most of its per-token work gone, exact in real arithmetic. With
x_t the narrowed token t, q the first token's query, and per attention head W_k, b_k, W_v, b_v:

    score_t = q . (W_k x_t + b_k) = (W_k^T q) . x_t + const       a constant added to all scores does not change softmax
    context = sum_t a_t (W_v x_t + b_v) = W_v (sum_t a_t x_t) + b_v                              since sum_t a_t = 1

so keys and values are never computed per token. Where no activation stands after the narrowing layer,
x_t = N h_t + n is itself linear and folds into q's side and v's side in the same way: the head then reads h_t only.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.configuration import ExitHeadConfig
from fastbert.export.activations import add_activation
from fastbert.export.encoder import weights_of
from fastbert.export.graph import Graph

__all__ = ["add_exit", "add_uncertainty"]


def add_exit(graph: Graph, head: Any, config: ExitHeadConfig, layer: int, hidden: str, mask: str) -> str:
    """Add the exit head after ``layer``.

    :param head: the PyTorch module (`fastbert.exits`).
    :param hidden: float [batch, sequence, hidden].
    :param mask: float [batch, 1, 1, sequence], added to scores.
    :returns: name of the logits, float [batch, classes].
    """
    graph.scope(f"exit_{layer:02d}")
    # float64 for the folding; what goes into the graph is rounded once, to float32
    weights = {name: value.astype(np.float64) for name, value in weights_of(head).items()}
    builder = {"attention": _add_attention, "mlp": _add_mlp}[config.kind]
    return builder(graph, weights, config, hidden, mask)


def add_uncertainty(graph: Graph, logits: str, classes: int) -> str:
    """Add ``u = -sum_c p_c ln p_c / ln C`` (`fastbert.uncertainty`): float32 [batch, classes] -> float32 [batch]."""
    if classes == 1:
        return graph.op("ReduceSum", graph.op("Mul", logits, graph.floats(0.0)), graph.ints([-1]), keepdims=0)
    log_p = graph.op("LogSoftmax", logits, axis=-1)
    total = graph.op("ReduceSum", graph.op("Mul", graph.op("Exp", log_p), log_p), graph.ints([-1]), keepdims=0)
    normalized = graph.op("Mul", total, graph.floats(-1.0 / math.log(classes)))
    return graph.op("Clip", normalized, graph.floats(0.0), graph.floats(1.0), name="uncertainty")


def _add_mlp(graph: Graph, weights: dict[str, NDArray[Any]], config: ExitHeadConfig, hidden: str, mask: str) -> str:
    first = graph.op("Gather", hidden, graph.ints(0), axis=1, name="first_token")
    return _add_classifier(graph, config, first, weights["dense.weight"].T, weights["dense.bias"], weights)


def _add_attention(
    graph: Graph, weights: dict[str, NDArray[Any]], config: ExitHeadConfig, hidden: str, mask: str
) -> str:
    narrow, narrow_bias = weights["narrow.weight"].T, weights["narrow.bias"]  # [hidden, size]
    query, query_bias = weights["query.weight"].T, weights["query.bias"]  # [size, size]
    size, heads = config.size, config.heads
    d = size // heads
    # per head: [heads, d, size] and [heads, size, d]
    key = weights["key.weight"].reshape(heads, d, size) / math.sqrt(d)
    value = weights["value.weight"].reshape(heads, d, size).transpose(0, 2, 1)
    value_bias = weights["value.bias"]  # [size]
    if config.narrow_activation is None:
        tokens, width = hidden, narrow.shape[0]
        query, query_bias = narrow @ query, narrow_bias @ query + query_bias
        value_bias = value_bias + (narrow_bias @ value).reshape(-1)
        key, value = key @ narrow.T, narrow @ value
    else:
        width = size
        tokens = graph.linear(hidden, "narrow", _f32(narrow), _f32(narrow_bias))
        tokens = add_activation(graph, tokens, config.narrow_activation)
    first = graph.op("Gather", tokens, graph.ints([0]), axis=1, name="first_token")  # [batch, 1, width]
    q = graph.linear(first, "query", _f32(query), _f32(query_bias))
    q = graph.op("Transpose", graph.op("Reshape", q, graph.ints([0, 1, heads, d])), perm=[0, 2, 1, 3])
    q = graph.op("MatMul", q, graph.weight("key", _f32(key)), name="key")  # [batch, heads, 1, width]
    q = graph.op("Reshape", q, graph.ints([0, heads, width]))
    scores = graph.op("MatMul", q, graph.op("Transpose", tokens, perm=[0, 2, 1]), name="scores")
    scores = graph.op("Add", scores, graph.op("Squeeze", mask, graph.ints([1])))  # [batch, heads, sequence]
    context = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), tokens, name="context")
    context = graph.op("Reshape", context, graph.ints([0, heads, 1, width]))
    context = graph.op("MatMul", context, graph.weight("value", _f32(value)), name="value")  # [batch, heads, 1, d]
    context = graph.op("Reshape", context, graph.ints([0, size]))
    # value bias, output projection and dense layer follow each other without an activation: one matrix, mostly
    dense, bias = weights["dense.weight"].T, weights["dense.bias"]
    if config.output_projection:
        output, output_bias = weights["attention_output.weight"].T, weights["attention_output.bias"]
        if config.narrow_activation is None:
            bias = output_bias @ dense + bias
            dense = output @ dense
        else:
            # The authors' heads: sums of thousands cancel to about 1 before the tanh, where the rounding of a folded
            # matrix shows (1e-4 against 2e-5 on a checkpoint of theirs). Unfolded, the weights are PyTorch's.
            context = graph.linear(context, "output", _f32(output), _f32(value_bias @ output + output_bias))
            value_bias = np.zeros(size)
    return _add_classifier(graph, config, context, dense, value_bias @ dense + bias, weights)


def _add_classifier(
    graph: Graph,
    config: ExitHeadConfig,
    value: str,
    dense: NDArray[Any],
    bias: NDArray[Any],
    weights: dict[str, NDArray[Any]],
) -> str:
    value = graph.linear(value, "dense", _f32(dense), _f32(bias))
    value = add_activation(graph, value, config.dense_activation)
    return graph.linear(value, "classifier", _f32(weights["classifier.weight"].T), _f32(weights["classifier.bias"]))


def _f32(array: NDArray[Any]) -> NDArray[np.float32]:
    return array.astype(np.float32)
