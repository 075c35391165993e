"""What all whole-model baselines share: logits from one call, and all layers run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.systems import Answer


class WholeModelRunner(ABC):
    """A `fastbert.benchmarks.systems.Runner` that always runs all layers.

    :param layers: of the model.
    :param settings: what the engine reports about itself.
    """

    def __init__(self, layers: int, settings: Mapping[str, Any]) -> None:
        self._layers = layers
        self.settings = settings

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: float | None,
    ) -> Answer:
        """Classify a padded batch."""
        logits = self._logits(input_ids, attention_mask, token_type_ids)
        return logits, np.full(len(logits), self._layers)

    @abstractmethod
    def _logits(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return float32 [batch, classes] of int64 [batch, sequence] each."""


def graph_inputs(
    names: Sequence[str],
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    token_type_ids: NDArray[np.int64],
) -> dict[str, NDArray[np.int64]]:
    """Return those of the three arrays that a graph has inputs for."""
    arrays = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
    return {name: arrays[name] for name in names}
