"""The number of floating-point operations (FLOPs) per sample.

Convention: a multiply-add counts 2. Linear layers and both attention products count; embeddings, normalization, softmax
and activations do not. Heads are counted as PyTorch computes them (keys and values for all tokens, one query). Padding
does not count.

A count is a polynomial in the sequence length S, stored in a bundle's manifest as its coefficients [c0, c1, c2]:
``c0 + c1 S + c2 S^2``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def model_flops(config: Any) -> dict[str, Any]:
    """Return the coefficients of one layer and of every exit head.

    :param config: a `fastbert.configuration.FastBertConfig`.
    :returns: ``{"layer": [c0, c1, c2], "exits": [[c0, c1, c2], ...]}``, one exit per layer.
    """
    backbone = config.backbone_config
    hidden, inner = backbone.hidden_size, backbone.intermediate_size
    layer = [0, 2 * (4 * hidden * hidden + 2 * hidden * inner), 2 * 2 * hidden]
    return {
        "layer": layer,
        "exits": [
            _head(config.head_config(exit_layer), hidden, config.num_labels) for exit_layer in range(config.num_exits)
        ],
    }


def _head(head: Any, hidden: int, classes: int) -> list[int]:
    if head.kind == "mlp":
        return [2 * (hidden * head.size + head.size * classes), 0, 0]
    size = head.size
    once = 2 * (size * size * (2 + head.output_projection) + size * classes)  # query, output, dense, classes
    per_token = 2 * (hidden * size + 2 * size * size + 2 * size)  # narrow, key, value, the two attention products
    return [once, per_token, 0]


def flops_by_exit(flops: Mapping[str, Any], exits: tuple[int, ...], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the FLOPs of a sample that exits at each exit, including the heads before it.

    :param exits: 0-based layers that have an exit, ascending.
    :param lengths: int64 [samples], in tokens.
    :returns: float64 [samples, exits].
    """
    heads = np.cumsum([_evaluate(flops["exits"][layer], lengths) for layer in exits], axis=0)
    layers = np.array([(layer + 1) * _evaluate(flops["layer"], lengths) for layer in exits])
    costs: NDArray[np.float64] = (layers + heads).T
    return costs


def full_model_flops(flops: Mapping[str, Any], layers: int, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the FLOPs of the whole model without early exits, all layers and the last head: float64 [samples]."""
    return layers * _evaluate(flops["layer"], lengths) + _evaluate(flops["exits"][layers - 1], lengths)


def _evaluate(coefficients: list[float], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    constant, linear, square = coefficients
    return constant + linear * lengths + square * lengths.astype(np.float64) ** 2
