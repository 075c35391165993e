"""The checkpoint in PyTorch: the whole model, or the same early exit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines.runner import WholeModelRunner
from fastbert.benchmarks.systems import Answer, Budget, Runner, Sources
from fastbert.runtime.manifest import read_manifest


def prepare(sources: Sources, *, early_exit: bool) -> None:
    """Do nothing: the checkpoint needs no other files."""


def load(sources: Sources, budget: Budget, *, early_exit: bool) -> Runner:
    """Load the checkpoint. PyTorch's number of threads is set for the whole process."""
    import torch

    from fastbert.checkpoint import load_checkpoint

    assert sources.checkpoint is not None  # BASELINES says that it is needed
    torch.set_num_threads(budget.threads)
    model = load_checkpoint(sources.checkpoint).model.eval()
    settings = {"device": str(model.device), "threads": torch.get_num_threads(), "calls": budget.calls}
    if early_exit:  # it measures what the bundle does, which an export may choose
        return _EarlyExit(model, settings, read_manifest(sources.bundle).uncertainty)
    return _WholeModel(model, settings)


class _WholeModel(WholeModelRunner):
    def __init__(self, model: Any, settings: dict[str, Any]) -> None:
        super().__init__(model.config.num_exits, settings)
        self._model = model

    def _logits(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        import torch

        tensors = [torch.from_numpy(array) for array in (input_ids, attention_mask, token_type_ids)]
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._model(*tensors, exits=[self._layers - 1]).logits.numpy()
        return logits


class _EarlyExit:
    def __init__(self, model: Any, settings: dict[str, Any], measure: str) -> None:
        self._model = model
        self._measure = measure
        self.settings = settings

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: float | None,
    ) -> Answer:
        import torch

        tensors = [torch.from_numpy(array) for array in (input_ids, attention_mask, token_type_ids)]
        with torch.inference_mode():
            output = self._model.early_exit(*tensors, speed=speed, measure=self._measure)
        return output.logits.numpy(), output.exit_layer.numpy() + 1
