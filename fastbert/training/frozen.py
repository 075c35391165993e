"""Layer outputs of a frozen backbone, kept from epoch to epoch.

Distillation trains only the exit heads. The backbone under them is frozen and has no dropout, so it gives a row the
same layer outputs in every epoch. They are computed once and kept in a file, from which later epochs read them.
"""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import torch

_LARGEST_FILE = 8 * 2**30  # bytes
_log = logging.getLogger(__name__)


class FrozenOutputs:
    """Outputs of every layer for each row, in an unnamed file that is deleted with this object.

    :param directory: on the disk that holds the file. The operating system keeps in memory what fits.
    :param lengths: tokens of each row.
    """

    def __init__(self, directory: Path, lengths: Sequence[int], *, layers: int, hidden_size: int) -> None:
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths
        self._known = np.zeros(len(lengths), dtype=bool)
        shape = (int(self._ends[-1]), layers, hidden_size)
        count = int(np.prod(shape))
        with NamedTemporaryFile(dir=directory) as file:
            os.posix_fallocate(file.fileno(), 0, 4 * count)  # a full disk is an error here; later it would be a crash
            self._outputs = torch.from_file(file.name, shared=True, size=count, dtype=torch.float32).view(shape)

    @classmethod
    def open(cls, directory: Path, lengths: Sequence[int], *, layers: int, hidden_size: int) -> "FrozenOutputs | None":
        """Return an empty store; None where it would take more than 8 GiB, or more than half of the free disk space."""
        size = 4 * sum(lengths) * layers * hidden_size
        if hasattr(os, "posix_fallocate") and size <= min(_LARGEST_FILE, shutil.disk_usage(directory).free // 2):
            with suppress(OSError, RuntimeError):  # a quota; torch's error where the file cannot be mapped
                return cls(directory, lengths, layers=layers, hidden_size=hidden_size)
        _log.warning("The frozen backbone runs in every epoch: its outputs would take %.1f GB of disk.", size / 1e9)
        return None

    def get(
        self, rows: torch.Tensor, sequence: int, compute: Callable[[], Sequence[torch.Tensor]]
    ) -> Sequence[torch.Tensor]:
        """Return each layer's outputs for a batch: float32 [batch, sequence, hidden], zero where the batch is padded.

        :param rows: int64 [batch], which rows the batch has.
        :param sequence: length that the batch is padded to.
        :param compute: runs the backbone on the batch; called unless every row is known.
        """
        spans = [(int(self._starts[row]), int(self._ends[row])) for row in rows]
        if not self._known[rows.numpy()].all():
            outputs = compute()
            together = torch.stack(list(outputs), dim=2)  # [batch, sequence, layers, hidden]
            for (start, end), row in zip(spans, together, strict=True):
                self._outputs[start:end] = row[: end - start]
            self._known[rows.numpy()] = True
            return outputs
        batch = torch.zeros(len(spans), sequence, *self._outputs.shape[1:])
        for (start, end), row in zip(spans, batch, strict=True):
            row[: end - start] = self._outputs[start:end]
        return batch.unbind(dim=2)
