"""The exit heads and their uncertainty as graphs.

An attention head is folded: the same function with most of its per-token work gone, exact in real arithmetic. With
x_t the narrowed token t, q the first token's query, and per attention head W_k, b_k, W_v, b_v:

    score_t = q . (W_k x_t + b_k) = (W_k^T q) . x_t + const       a constant added to all scores does not change softmax
    context = sum_t a_t (W_v x_t + b_v) = W_v (sum_t a_t x_t) + b_v                              since sum_t a_t = 1

so keys and values are never computed per token. Where no activation stands after the narrowing layer,
x_t = N h_t + n is itself linear, and no token is narrowed either:

    score_t = (N^T W_k^T q) . h_t + const                  context = W_v N (sum_t a_t h_t) + W_v n + b_v

N stands on the left of each of its three products, where ONNX Runtime takes the weight as it is. As a right operand it
would be packed, and folded with its neighbour it would be another matrix: three copies of it to read instead of one.
At batch 1 an engine waits for its weights: 1.2 MB a head at 12 x 768 against 0.6 MB is 2 % of the chain's time.
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
    :returns: name of the logits, float32 [batch, classes].
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
    pool = _pool_hidden_states if config.narrow_activation is None else _pool_narrowed
    context, value_bias = pool(graph, weights, config, hidden, mask)
    dense, bias = weights["dense.weight"].T, weights["dense.bias"]
    if config.output_projection:
        output, output_bias = weights["attention_output.weight"].T, weights["attention_output.bias"]
        value_bias = value_bias @ output + output_bias
        if config.narrow_activation is None:
            dense, bias = output @ dense, value_bias @ dense + bias
            return _add_classifier(graph, config, context, dense, bias, weights)
        # The authors' heads: sums of thousands cancel to about 1 before the tanh, where the rounding of a folded
        # matrix shows (1e-4 against 2e-5 on a checkpoint of theirs). Unfolded, the weights are PyTorch's.
        context, value_bias = graph.linear(context, "output", _f32(output), _f32(value_bias)), np.zeros(config.size)
    return _add_classifier(graph, config, context, dense, value_bias @ dense + bias, weights)


def _pool_hidden_states(
    graph: Graph, weights: dict[str, NDArray[Any]], config: ExitHeadConfig, hidden: str, mask: str
) -> tuple[str, NDArray[Any]]:
    """Attend over hidden_states: no activation after the narrowing layer.

    :returns: name of the context without its bias, float [batch, size]; and that bias, [size].
    """
    width = weights["narrow.weight"].shape[1]
    size, heads = config.size, config.heads
    d = size // heads
    key = weights["key.weight"].reshape(heads, d, size).transpose(0, 2, 1) / math.sqrt(d)  # [heads, size, d]
    value = weights["value.weight"].reshape(heads, d, size)
    query_bias = weights["query.weight"] @ weights["narrow.bias"] + weights["query.bias"]
    narrow = graph.weight("narrow", _f32(weights["narrow.weight"]))  # [size, width]
    # vectors are columns: [..., n, 1]
    first = graph.op("Gather", hidden, graph.ints(0), axis=1, name="first_token")
    first = graph.op("MatMul", narrow, graph.op("Reshape", first, graph.ints([0, width, 1])), name="narrow")
    q = graph.op("MatMul", graph.weight("query", _f32(weights["query.weight"])), first, name="query")
    q = graph.op("Add", q, graph.weight("query.bias", _f32(query_bias[:, None])))
    q = graph.op("Reshape", q, graph.ints([0, heads, d, 1]))
    q = graph.op("MatMul", graph.weight("key", _f32(key)), q, name="key")  # [batch, heads, size, 1]
    q = graph.transposed_matmul(narrow, q, name="widen")  # [batch, heads, width, 1]
    context = _attend(graph, graph.op("Reshape", q, graph.ints([0, heads, width])), hidden, mask)
    context = graph.op("Reshape", context, graph.ints([0, heads, width, 1]))
    context = graph.op("MatMul", narrow, context, name="narrow_context")  # [batch, heads, size, 1]
    context = graph.op("MatMul", graph.weight("value", _f32(value)), context, name="value")  # [batch, heads, d, 1]
    bias = weights["value.weight"] @ weights["narrow.bias"] + weights["value.bias"]
    return graph.op("Reshape", context, graph.ints([0, size])), bias


def _pool_narrowed(
    graph: Graph, weights: dict[str, NDArray[Any]], config: ExitHeadConfig, hidden: str, mask: str
) -> tuple[str, NDArray[Any]]:
    """Attend over narrowed tokens, as an activation stands after the narrowing layer; returns as the other."""
    size, heads = config.size, config.heads
    d = size // heads
    key = weights["key.weight"].reshape(heads, d, size) / math.sqrt(d)  # [heads, d, size]
    value = weights["value.weight"].reshape(heads, d, size).transpose(0, 2, 1)  # [heads, size, d]
    tokens = graph.linear(hidden, "narrow", _f32(weights["narrow.weight"].T), _f32(weights["narrow.bias"]))
    tokens = add_activation(graph, tokens, config.narrow_activation)
    first = graph.op("Gather", tokens, graph.ints([0]), axis=1, name="first_token")  # [batch, 1, size]
    q = graph.linear(first, "query", _f32(weights["query.weight"].T), _f32(weights["query.bias"]))
    q = graph.op("Reshape", q, graph.ints([0, heads, 1, d]))
    q = graph.op("MatMul", q, graph.weight("key", _f32(key)), name="key")  # [batch, heads, 1, size]
    context = _attend(graph, graph.op("Reshape", q, graph.ints([0, heads, size])), tokens, mask)
    context = graph.op("Reshape", context, graph.ints([0, heads, 1, size]))
    context = graph.op("MatMul", context, graph.weight("value", _f32(value)), name="value")  # [batch, heads, 1, d]
    return graph.op("Reshape", context, graph.ints([0, size])), weights["value.bias"]


def _attend(graph: Graph, query: str, tokens: str, mask: str) -> str:
    """Average tokens by their scores: query [batch, heads, n], tokens [batch, sequence, n] -> [batch, heads, n]."""
    scores = graph.op("MatMul", query, graph.op("Transpose", tokens, perm=[0, 2, 1]), name="scores")
    scores = graph.op("Add", scores, graph.op("Squeeze", mask, graph.ints([1])))  # [batch, heads, sequence]
    return graph.op("MatMul", graph.op("Softmax", scores, axis=-1), tokens, name="context")


def _add_classifier(
    graph: Graph,
    config: ExitHeadConfig,
    value: str,
    dense: NDArray[Any],
    bias: NDArray[Any],
    weights: dict[str, NDArray[Any]],
) -> str:
    value = graph.linear(value, "dense", _f32(dense), _f32(bias))
    value = graph.to_float32(add_activation(graph, value, config.dense_activation))
    return graph.linear(value, "classifier", _f32(weights["classifier.weight"].T), _f32(weights["classifier.bias"]))


def _f32(array: NDArray[Any]) -> NDArray[np.float32]:
    return array.astype(np.float32)
