"""Graphs in half precision, written as such rather than converted: weights and hidden states are float16.

Inference engines take the precision from the graph; TensorRT 11 has no other way. Each stage has one ``Cast`` to
float32, before the exit head's last product and the uncertainty. ``LayerNormalization`` computes in float32 internally
(its default ``stash_type``). The unbiased kind consists of several operators and gets casts around it, because the sum
of squares over a wide layer exceeds float16's range.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbert.export.graphs.writer import Graph
from fastbert.runtime.errors import CheckpointError


class Float16Graph(Graph):
    """A graph that writes weights, constants and hidden states in float16 until `to_float32`."""

    dtype = "float16"
    for_gpu = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._float: type[np.floating[Any]] = np.float16

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant tensor; floats are rounded to the current precision.

        :raises CheckpointError: a weight is outside float16's range.
        """
        if np.issubdtype(array.dtype, np.floating):
            with np.errstate(over="ignore"):
                rounded = array.astype(self._float)
            if not np.isfinite(rounded).all():
                raise CheckpointError(
                    f"A weight of {self._scope}{name} is {np.abs(array).max():.3g}; the largest float16 is 65504. "
                    "Leave fp16 and int8-qdq out of `precisions`."
                )
            array = rounded
        return super().weight(name, array)

    def floats(self, values: ArrayLike) -> str:
        """Add a constant tensor of the current precision, or reuse an equal one."""
        return self._shared(np.asarray(values, dtype=self._float))

    def to_float32(self, value: str) -> str:
        """Switch to float32: cast ``value``, and write all later weights and constants in float32."""
        value = self.cast(value, "float32")
        self._float = np.float32
        return value

    def unbiased_layer_norm(
        self, value: str, name: str, weight: NDArray[Any], bias: NDArray[Any], epsilon: float
    ) -> str:
        """Add layer normalization with the unbiased standard deviation, in float32 between two casts."""
        wide = self.cast(value, "float32")
        self._float = np.float32
        normalized = super().unbiased_layer_norm(wide, name, weight, bias, epsilon)
        self._float = np.float16
        return self.cast(normalized, "float16")
