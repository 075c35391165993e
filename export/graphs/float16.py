"""Graphs in half precision, written as such: every weight float16, and no casts but those named here.

An inference engine takes the precision from the graph (TensorRT 11 has no other way). The exit head's last product and
the uncertainty are float32, for which each stage has one ``Cast``. ``LayerNormalization`` computes in float32 inside
(its default ``stash_type``); the unbiased kind, made of several operators, gets casts around it instead, since the sum
of squares of a wide layer leaves float16's range.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbert.export.graphs.writer import Graph
from fastbert.runtime.errors import CheckpointError

__all__ = ["Float16Graph"]


class Float16Graph(Graph):
    """A graph that writes weights, constants and hidden states in float16 until `to_float32`."""

    dtype = "float16"
    for_gpu = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._float: type[np.floating[Any]] = np.float16

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant tensor; floats are rounded to the present precision.

        :raises CheckpointError: a weight is outside float16's range.
        """
        if np.issubdtype(array.dtype, np.floating):
            with np.errstate(over="ignore"):
                rounded = array.astype(self._float)
            if not np.isfinite(rounded).all():
                raise CheckpointError(
                    f"A weight of {self._scope}{name} is {np.abs(array).max():.3g}; float16 ends at 65504. "
                    "Export this model with --precision fp32."
                )
            array = rounded
        return super().weight(name, array)

    def floats(self, values: ArrayLike) -> str:
        """Add, or find, a constant tensor of the present precision."""
        return self._shared(np.asarray(values, dtype=self._float))

    def to_float32(self, value: str) -> str:
        """Go on in float32: with ``value``, and with every weight and constant that is added from now on."""
        value = self.cast(value, "float32")
        self._float = np.float32
        return value

    def unbiased_layer_norm(
        self, value: str, name: str, weight: NDArray[Any], bias: NDArray[Any], epsilon: float
    ) -> str:
        """Layer normalization with the unbiased standard deviation, in float32 between two casts."""
        wide = self.cast(value, "float32")
        self._float = np.float32
        normalized = super().unbiased_layer_norm(wide, name, weight, bias, epsilon)
        self._float = np.float16
        return self.cast(normalized, "float16")
