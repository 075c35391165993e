"""A single row's whole early exit, in one call of an ONNX Runtime session."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.engines.cpu.binding import run_error
from fastbert.runtime.tensors import ROW_INPUTS, ROW_OUTPUTS

_IDS, _TYPES, _SPEED = ROW_INPUTS


class RowSession:
    """Runs the model that `fastbert.export.joined.single_row` writes. May be shared by threads.

    Hot path (docs/performance.md#single-row): arrays are passed with each call, which is faster here than copying them
    into bound ones.

    :param session: of that model.
    :param check: raises if a file that the session still reads has changed.
    """

    def __init__(self, session: Any, run_options: Any, check: Callable[[], None]) -> None:
        # what `InferenceSession.run` calls after it checked the names, where this ONNX Runtime has it
        self._run = getattr(session, "_sess", session).run
        self._run_options = run_options
        self._check = check

    def run(
        self, input_ids: NDArray[np.int64], token_type_ids: NDArray[np.int64], speed: NDArray[np.float32]
    ) -> Sequence[NDArray[Any]]:
        """Run a row; arguments and result as in `fastbert.runtime.chain.RunRow`.

        :raises EngineError: ONNX Runtime fails on it.
        """
        self._check()
        feeds = {_IDS: input_ids, _TYPES: token_type_ids, _SPEED: speed}
        try:
            answer: Sequence[NDArray[Any]] = self._run(ROW_OUTPUTS, feeds, self._run_options)
        except Exception as error:
            raise run_error(error) from error
        return answer
