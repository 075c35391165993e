"""One row's whole early exit as one call of an ONNX Runtime session on the CPU."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.engines.onnxruntime_binding import INPUTS, SHAPES_KEPT, bound

__all__ = ["RowSession"]


@dataclass(frozen=True)
class _Bound:
    """The session on a thread's arrays for rows of one length.

    :param inputs: int64 [1, sequence] each, in the order of `INPUTS`.
    :param speed: float32 [1].
    :param logits: float32 [1, classes].
    :param uncertainty: float32 [1].
    :param stage: int64 [1].
    """

    inputs: tuple[NDArray[np.int64], ...]
    speed: NDArray[np.float32]
    logits: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    stage: NDArray[np.int64]
    run: Callable[[], None]


class RowSession:
    """Runs what ``fastbert.export.early_exit`` writes; may be used by several threads at once.

    :param session: of that model.
    """

    def __init__(self, session: Any, run_options: Any) -> None:
        self._session = session
        self._run_options = run_options
        self._classes = next(output.shape[-1] for output in session.get_outputs() if output.name == "logits")
        self._threads = threading.local()

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: np.float32,
    ) -> tuple[NDArray[np.float32], int, NDArray[np.float32]]:
        """Run a row; arguments and result as in `fastbert.runtime.chain.Engine.run_row`."""
        kept = getattr(self._threads, "kept", None)
        if kept is None:
            kept = self._threads.kept = {}
        length = input_ids.shape[1]
        row = kept.get(length)
        if row is None:
            if len(kept) >= SHAPES_KEPT:
                kept.clear()
            row = kept[length] = self._bind(length)
        ids, mask, types = row.inputs
        ids[:] = input_ids
        mask[:] = attention_mask
        types[:] = token_type_ids
        row.speed[:] = speed
        row.run()
        return row.logits.copy(), row.stage.item(0), row.uncertainty.copy()

    def _bind(self, length: int) -> _Bound:
        inputs = tuple(np.zeros((1, length), np.int64) for _ in INPUTS)
        speed, logits = np.zeros(1, np.float32), np.zeros((1, self._classes), np.float32)
        uncertainty, stage = np.zeros(1, np.float32), np.zeros(1, np.int64)
        run = bound(
            self._session,
            {**dict(zip(INPUTS, inputs, strict=True)), "speed": speed},
            {"logits": logits, "uncertainty": uncertainty, "stage": stage},
            self._run_options,
        )
        return _Bound(inputs, speed, logits, uncertainty, stage, run)
