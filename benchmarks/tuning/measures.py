"""The uncertainty of an exit from its logits, in NumPy: what the other measure of a bundle would have been.

The engines compute the bundle's own measure; a runtime never does.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray


def entropy(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the normalized entropy -sum_c p_c ln p_c / ln C: float32 [..., classes] -> float32 [...]."""
    classes = logits.shape[-1]
    if classes == 1:
        return np.zeros(logits.shape[:-1], np.float32)
    log_p = _log_softmax(logits)
    values = -(np.exp(log_p) * log_p).sum(axis=-1) / np.float32(math.log(classes))
    clipped: NDArray[np.float32] = np.clip(values, 0, 1).astype(np.float32)
    return clipped


def margin(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 - (p1 - p2) of the two most probable classes: float32 [..., classes] -> float32 [...]."""
    if logits.shape[-1] == 1:
        return np.zeros(logits.shape[:-1], np.float32)
    top = np.partition(np.exp(_log_softmax(logits)), -2, axis=-1)
    clipped: NDArray[np.float32] = np.clip(1 - (top[..., -1] - top[..., -2]), 0, 1).astype(np.float32)
    return clipped


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_p


# Name in the manifest and of `fastbert export --uncertainty` -> the measure.
MEASURES: Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {"entropy": entropy, "margin": margin}
