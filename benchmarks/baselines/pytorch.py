"""The checkpoint in PyTorch: the whole model, or the same early exit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.systems import Answer, Budget, Runner, Sources

__all__ = ["load", "prepare"]


def prepare(sources: Sources, *, early_exit: bool) -> None:
    """Nothing: the checkpoint is there."""


def load(sources: Sources, budget: Budget, *, early_exit: bool) -> Runner:
    """Load the checkpoint. The number of threads is PyTorch's, of the whole process."""
    import torch

    from fastbert.checkpoint import load_checkpoint

    assert sources.checkpoint is not None  # the table says that it is needed
    torch.set_num_threads(budget.threads)
    return _TorchRunner(load_checkpoint(sources.checkpoint).model.eval(), budget, early_exit)


class _TorchRunner:
    def __init__(self, model: Any, budget: Budget, early_exit: bool) -> None:
        import torch

        self._torch = torch
        self._model = model
        self._last = model.config.num_exits - 1
        self._early_exit = early_exit
        self.settings = {"device": "cpu", "threads": torch.get_num_threads(), "calls": budget.calls}

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: float | None,
    ) -> Answer:
        """Classify a padded batch."""
        tensors = [self._torch.from_numpy(array) for array in (input_ids, attention_mask, token_type_ids)]
        with self._torch.inference_mode():
            if self._early_exit:
                output = self._model.early_exit(*tensors, speed=speed)
                return output.logits.numpy(), output.exit_layer.numpy() + 1
            logits = self._model(*tensors, exits=[self._last]).logits.numpy()
        return logits, np.full(len(logits), self._last + 1)
