"""The exit heads and their uncertainty as graphs.

Attention heads are folded: the same function in real arithmetic, without most of the work per token. With the narrowed
token x_t, the query q of the first token, and W_k, b_k, W_v, b_v of each attention head:

    score_t = q . (W_k x_t + b_k) = (W_k^T q) . x_t + const       a constant on all scores does not change their softmax
    context = sum_t a_t (W_v x_t + b_v) = W_v (sum_t a_t x_t) + b_v                              since sum_t a_t = 1

so keys and values are never computed per token. Without an activation after the narrowing layer, x_t = N h_t + n is
linear as well, so no token is narrowed. With q = W_q x_0 + b_q, and D for everything between W_v and the activation of
the dense layer:

    score_t = (N^T (W_k^T W_q) x_0 + N^T W_k^T b_q) . h_t + const          D context = (D W_v) N (sum_t a_t h_t) + const

W_k^T W_q and D W_v become one matrix each per attention head.

On a CPU, N is always the left operand and vectors are columns: ONNX Runtime packs constant right operands, which would
make three copies of N, and a head at batch 1 is bound by memory traffic.

On a GPU the number of kernels matters. Vectors are rows, and matrices are folded and joined where possible. No product
broadcasts a weight over the batch: the CUDA MatMul of ONNX Runtime 1.31 is wrong for [heads, ...] times [batch, 1, ...]
where batch equals heads (``CanUseStridedBatchedGemm`` takes it for a strided batch; not reported upstream).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.configuration import ExitHeadConfig
from fastbert.export.graphs.activations import add_activation
from fastbert.export.graphs.encoder import weights_of
from fastbert.export.graphs.writer import Graph


def add_exit(graph: Graph, head: Any, config: ExitHeadConfig, layer: int, hidden: str, mask: str) -> str:
    """Add the exit head after ``layer``.

    :param head: the PyTorch module (`fastbert.exit_heads`).
    :param hidden: float [batch, sequence, hidden].
    :param mask: float [batch, 1, 1, sequence], which is added to the scores.
    :returns: name of the logits, float32 [batch, classes].
    """
    graph.scope(f"exit_{layer:02d}")
    # folded in float64, then rounded once to float32
    weights = {name: value.astype(np.float64) for name, value in weights_of(head).items()}
    builder = {"attention": _add_attention, "mlp": _add_mlp}[config.kind]
    return builder(graph, weights, config, hidden, mask)


def add_uncertainty(graph: Graph, logits: str, classes: int, measure: str) -> str:
    """Add an exit's uncertainty (`fastbert.uncertainty`): logits float32 [batch, classes] -> float32 [batch].

    :param measure: name in `fastbert.uncertainty.MEASURES`.
    """
    if classes == 1:
        return graph.op("ReduceSum", graph.op("Mul", logits, graph.floats(0.0)), graph.ints([-1]), keepdims=0)
    total, alpha, beta = _MEASURES[measure](graph, logits, classes)
    # min(max(alpha total + beta, 0), 1): rounding must not lead outside [0, 1]
    return graph.op("HardSigmoid", total, alpha=alpha, beta=beta, name="uncertainty")


def _add_entropy(graph: Graph, logits: str, classes: int) -> tuple[str, float, float]:
    """Add ``sum_c p_c ln p_c``, which times ``-1 / ln C`` is the normalized entropy."""
    log_p = graph.op("LogSoftmax", logits, axis=-1)
    total = graph.op("ReduceSum", graph.op("Mul", graph.op("Exp", log_p), log_p), graph.ints([-1]), keepdims=0)
    return total, -1.0 / math.log(classes), graph.hard_sigmoid_beta


def _add_margin(graph: Graph, logits: str, classes: int) -> tuple[str, float, float]:
    """Add ``p1 - p2`` of the two largest probabilities, which 1 minus is the margin's uncertainty.

    Not with ReduceMax or ReduceMin: ONNX Runtime's CUDA provider got their kernels for opset 20 late
    (onnxruntime#27755). Nor is the difference a MatMul with (1, -1): a GPU may round its factors to TF32.
    """
    largest, _ = graph.split("TopK", graph.op("Softmax", logits, axis=-1), graph.ints([2]), outputs=2, axis=-1)
    signed = graph.op("Mul", largest, graph.floats([1.0, -1.0]))
    return graph.op("ReduceSum", signed, graph.ints([-1]), keepdims=0), -1.0, 1.0


# measure -> (graph, logits, classes) -> what it adds, and the factor and the summand that make it the uncertainty
_MEASURES: dict[str, Callable[[Graph, str, int], tuple[str, float, float]]] = {
    "entropy": _add_entropy,
    "margin": _add_margin,
}


def _add_mlp(graph: Graph, weights: dict[str, NDArray[Any]], config: ExitHeadConfig, hidden: str, mask: str) -> str:
    first = graph.op("Gather", hidden, graph.ints(0), axis=1, name="first_token")
    return _add_classifier(graph, config, first, weights["dense.weight"].T, weights["dense.bias"], weights)


def _add_attention(
    graph: Graph, weights: dict[str, NDArray[Any]], config: ExitHeadConfig, hidden: str, mask: str
) -> str:
    add = _add_linear_attention if config.narrow_activation is None else _add_narrowed_attention
    return add(graph, weights, config, hidden, mask)


def _add_linear_attention(
    graph: Graph, weights: dict[str, NDArray[Any]], config: ExitHeadConfig, hidden: str, mask: str
) -> str:
    """Attend over the hidden states, without an activation after the narrowing layer."""
    width = weights["narrow.weight"].shape[1]
    size, heads = config.size, config.heads
    d = size // heads
    query, key, value = (weights[f"{name}.weight"].reshape(heads, d, size) for name in ("query", "key", "value"))
    narrow_bias = weights["narrow.bias"]
    query_bias = (weights["query.weight"] @ narrow_bias + weights["query.bias"]).reshape(heads, d, 1)
    transposed_key = key.transpose(0, 2, 1) / math.sqrt(d)  # [heads, size, d]
    dense, bias = weights["dense.weight"].T, weights["dense.bias"]
    if config.output_projection:
        dense, bias = weights["attention_output.weight"].T @ dense, weights["attention_output.bias"] @ dense + bias
    bias = (weights["value.weight"] @ narrow_bias + weights["value.bias"]) @ dense + bias
    dense = value.transpose(0, 2, 1) @ dense.reshape(heads, d, -1)  # [heads, size, size]
    first = graph.op("Gather", hidden, graph.ints(0), axis=1, name="first_token")
    if graph.for_gpu:
        widen = weights["narrow.weight"].T  # [width, size]
        side_by_side = (widen @ transposed_key @ query).transpose(2, 0, 1)  # [size, heads, width]
        key_bias = widen @ transposed_key @ query_bias
        q = graph.linear(first, "narrow", _f32(widen), None)
        q = graph.linear(q, "query_key", _f32(side_by_side.reshape(size, -1)), _f32(key_bias.reshape(-1)))
        context = _attend_by_rows(graph, q, hidden, mask, (heads, width))
        dense = widen @ dense  # [heads, width, size]
        return _add_classifier(graph, config, context, dense.reshape(heads * width, -1), bias, weights)
    narrow = graph.weight("narrow", _f32(weights["narrow.weight"]))  # [size, width]
    # vectors are columns: [..., n, 1]
    first = graph.op("MatMul", narrow, graph.op("Reshape", first, graph.ints([0, 1, width, 1])), name="narrow")
    q = graph.op("MatMul", graph.weight("query_key", _f32(transposed_key @ query)), first, name="query_key")
    q = graph.op("Add", q, graph.weight("query_key.bias", _f32(transposed_key @ query_bias)))  # [batch, heads, size, 1]
    q = graph.transposed_matmul(narrow, q, name="widen")  # [batch, heads, width, 1]
    context = _attend(graph, q, hidden, mask, (heads, width))
    context = graph.op("MatMul", narrow, context, name="narrow_context")  # [batch, heads, size, 1]
    context = graph.op("Reshape", context, graph.ints([0, heads * size]))
    return _add_classifier(graph, config, context, dense.reshape(heads * size, -1), bias, weights)


def _add_narrowed_attention(
    graph: Graph, weights: dict[str, NDArray[Any]], config: ExitHeadConfig, hidden: str, mask: str
) -> str:
    """Attend over the narrowed tokens: there is an activation after the narrowing layer."""
    size, heads = config.size, config.heads
    d = size // heads
    key = weights["key.weight"].reshape(heads, d, size).transpose(0, 2, 1) / math.sqrt(d)  # [heads, size, d]
    value = weights["value.weight"].reshape(heads, d, size)
    tokens = graph.linear(hidden, "narrow", _f32(weights["narrow.weight"].T), _f32(weights["narrow.bias"]))
    tokens = add_activation(graph, tokens, config.narrow_activation)
    first = graph.op("Gather", tokens, graph.ints(0), axis=1, name="first_token")  # [batch, size]
    q = graph.linear(first, "query", _f32(weights["query.weight"].T), _f32(weights["query.bias"]))
    if graph.for_gpu:
        q = graph.linear(q, "key", _f32(_block_diagonal(key.transpose(0, 2, 1))), None)
        context = _attend_by_rows(graph, q, tokens, mask, (heads, size))
        context = graph.linear(context, "value", _f32(_block_diagonal(value.transpose(0, 2, 1))), None)
    else:
        q = graph.op("Reshape", q, graph.ints([0, heads, d, 1]))
        q = graph.op("MatMul", graph.weight("key", _f32(key)), q, name="key")  # [batch, heads, size, 1]
        context = _attend(graph, q, tokens, mask, (heads, size))
        context = graph.op("MatMul", graph.weight("value", _f32(value)), context, name="value")  # [batch, heads, d, 1]
        context = graph.op("Reshape", context, graph.ints([0, size]))
    dense, bias, value_bias = weights["dense.weight"].T, weights["dense.bias"], weights["value.bias"]
    if config.output_projection:
        # Not folded: in heads of the authors' code, large sums cancel before the tanh, where the rounding of a folded
        # matrix would show.
        output = weights["attention_output.weight"].T
        output_bias = value_bias @ output + weights["attention_output.bias"]
        context = graph.linear(context, "output", _f32(output), _f32(output_bias))
    else:
        bias = value_bias @ dense + bias
    return _add_classifier(graph, config, context, dense, bias, weights)


def _attend(graph: Graph, query: str, tokens: str, mask: str, shape: tuple[int, int]) -> str:
    """Average tokens by their scores: query [batch, heads, n, 1], tokens [batch, sequence, n] -> [batch, heads, n, 1].

    :param shape: (heads, n).
    """
    heads, width = shape
    tokens = graph.op("Reshape", tokens, graph.ints([0, 1, -1, width]))
    scores = graph.op("MatMul", tokens, query, name="scores")  # [batch, heads, sequence, 1]
    scores = graph.op("Add", graph.op("Reshape", scores, graph.ints([0, heads, 1, -1])), mask)
    shares = graph.op("Reshape", graph.op("Softmax", scores, axis=-1), graph.ints([0, heads, -1, 1]))
    return graph.transposed_matmul(tokens, shares, name="context")


def _attend_by_rows(graph: Graph, query: str, tokens: str, mask: str, shape: tuple[int, int]) -> str:
    """Average tokens by their scores: query [batch, heads * n], tokens [batch, sequence, n] -> [batch, heads * n].

    :param shape: (heads, n).
    """
    heads, width = shape
    query = graph.op("Reshape", query, graph.ints([0, heads, width]))
    scores = graph.op("MatMul", query, graph.op("Transpose", tokens, perm=[0, 2, 1]), name="scores")
    scores = graph.op("Add", graph.op("Reshape", scores, graph.ints([0, heads, 1, -1])), mask)
    shares = graph.op("Reshape", graph.op("Softmax", scores, axis=-1), graph.ints([0, heads, -1]))
    return graph.op("Reshape", graph.op("MatMul", shares, tokens, name="context"), graph.ints([0, heads * width]))


def _block_diagonal(blocks: NDArray[Any]) -> NDArray[Any]:
    """Put the blocks on a diagonal, with zeros elsewhere: [heads, n, m] -> [heads * n, heads * m]."""
    heads, n, m = blocks.shape
    joined = np.zeros((heads, n, heads, m))
    joined[np.arange(heads), :, np.arange(heads)] = blocks
    return joined.reshape(heads * n, heads * m)


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
