"""PyTorch's answers at every exit: what engines must match, and what a checkpoint is evaluated on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fastbert.checkpoint import Checkpoint
from fastbert.data.rows import Row
from fastbert.tokenization import text_encoder
from fastbert.uncertainty import uncertainty

_BATCH = 32


@dataclass(frozen=True)
class Reference:
    """Answers of every exit, float32, row by row.

    :param input_ids: int64 [rows, sequence], padded on the right, as are ``attention_mask`` and ``token_type_ids``.
    :param logits: float32 [rows, layers, classes].
    :param uncertainty: float32 [rows, layers].
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    logits: NDArray[np.float32]
    uncertainty: NDArray[np.float32]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, without padding: int64 [rows]."""
        lengths: NDArray[np.int64] = self.attention_mask.sum(axis=1)
        return lengths


@torch.no_grad()
def compute_reference(checkpoint: Checkpoint, rows: Sequence[Row], measure: str | None = None) -> Reference:
    """Tokenize rows and run every exit in eval mode, on the model's device.

    :param rows: at least one; their labels are not used.
    :param measure: of uncertainty (`fastbert.uncertainty.MEASURES`); None: the checkpoint's.
    """
    model, config = checkpoint.model.eval(), checkpoint.model.config
    encoded = text_encoder(checkpoint.tokenizer, config).encode([row.text_input for row in rows])
    arrays = {name: getattr(encoded, name) for name in ("input_ids", "attention_mask", "token_type_ids")}
    lengths = encoded.attention_mask.sum(axis=1)
    logits = np.zeros((len(rows), config.num_exits, len(config.labels)), np.float32)
    order = np.argsort(lengths, kind="stable")  # rows of similar length together: little padding
    for start in range(0, len(rows), _BATCH):
        batch = order[start : start + _BATCH]
        width = lengths[batch].max()
        inputs = {name: torch.from_numpy(array[batch, :width]).to(model.device) for name, array in arrays.items()}
        logits[batch] = model(**inputs).exit_logits.float().cpu().numpy()
    measured = uncertainty(torch.from_numpy(logits), measure or config.uncertainty).numpy()
    return Reference(logits=logits, uncertainty=measured, **arrays)
