"""One row's whole early exit as one call of an ONNX Runtime session on the CPU."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.engines.cpu.binding import could_not_run

__all__ = ["RowSession"]

_OUTPUTS = ("logits", "exit_layer", "uncertainty")


class RowSession:
    """Runs what ``fastbert.export.joined.single_row`` writes; may be used by several threads at once.

    Arrays come and go with each call. Bound to a length's own, as `fastbert.runtime.engines.cpu.binding` does
    for stages, they would be copied by Python, whose code is not in the caches by the next request: 40 to 50 us more.

    :param session: of that model.
    :param check: raises if a file that the session still reads was written to.
    """

    def __init__(self, session: Any, run_options: Any, check: Callable[[], None]) -> None:
        # what `InferenceSession.run` calls when it has looked at names, where this ONNX Runtime has it
        self._run = getattr(session, "_sess", session).run
        self._run_options = run_options
        self._check = check

    def run(
        self, input_ids: NDArray[np.int64], token_type_ids: NDArray[np.int64], speed: NDArray[np.float32]
    ) -> Sequence[NDArray[Any]]:
        """Run a row; arguments and result as in `fastbert.runtime.chain.RunRow`."""
        self._check()
        feeds = {"input_ids": input_ids, "token_type_ids": token_type_ids, "speed": speed}
        try:
            answer: Sequence[NDArray[Any]] = self._run(_OUTPUTS, feeds, self._run_options)
        except Exception as error:
            raise could_not_run(error) from error
        return answer
