"""One row's whole early exit as one call of an ONNX Runtime session on the CPU."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowSession"]

_OUTPUTS = ("logits", "stage", "uncertainty")


class RowSession:
    """Runs what ``fastbert.export.early_exit`` writes; may be used by several threads at once.

    Arrays come and go with each call. Bound to a length's own, as `fastbert.runtime.engines.onnxruntime_binding` does
    for stages, they would be copied by Python, whose code is not in the caches by the next request: 40 to 50 us more.

    :param session: of that model.
    """

    def __init__(self, session: Any, run_options: Any) -> None:
        # what `InferenceSession.run` calls when it has looked at names, where this ONNX Runtime has it
        self._run = getattr(session, "_sess", session).run
        self._run_options = run_options

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: np.float32,
    ) -> tuple[NDArray[np.float32], int, NDArray[np.float32]]:
        """Run a row; arguments and result as in `fastbert.runtime.chain.Engine.run_row`."""
        feeds = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "speed": _one(speed),
        }
        logits, stage, uncertainty = self._run(_OUTPUTS, feeds, self._run_options)
        return logits, stage.item(), uncertainty


@lru_cache(maxsize=64)
def _one(speed: np.float32) -> NDArray[np.float32]:
    return np.array([speed], np.float32)
