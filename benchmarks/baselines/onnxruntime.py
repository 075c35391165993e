"""The whole model in one ONNX Runtime session, with the chain's session options."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines import onnx_graphs
from fastbert.benchmarks.baselines.runner import WholeModelRunner, graph_inputs
from fastbert.benchmarks.systems import Budget, Runner, Sources
from fastbert.runtime.engines.cpu.sessions import DISABLED_OPTIMIZERS, session_options
from fastbert.runtime.manifest import read_manifest

_PROVIDER = "CPUExecutionProvider"
_GRAPHS = {"float32": onnx_graphs.float_model, "int8": onnx_graphs.quantized_model}


def prepare(sources: Sources, *, precision: str) -> None:
    """Write the whole model's graph."""
    _GRAPHS[precision](sources)


def load(sources: Sources, budget: Budget, *, precision: str) -> Runner:
    """Make the session. The optimizers that slow the chain down are off here too, as that is faster for both.

    int8 products are ONNX Runtime's default: on a processor without VNNI they are fast and may saturate. The chain's
    own `int8` is exact there, and `int8-reduced` is both fast and exact.
    """
    import onnxruntime as ort

    session = ort.InferenceSession(
        str(_GRAPHS[precision](sources)),
        session_options(ort, threads=budget.threads, saturates=False),
        providers=[_PROVIDER],
        disabled_optimizers=DISABLED_OPTIMIZERS,
    )
    settings = {
        "provider": session.get_providers()[0],
        "provider_asked": _PROVIDER,
        "threads": session.get_session_options().intra_op_num_threads,
        "calls": budget.calls,
    }
    return SessionRunner(session, read_manifest(sources.bundle).layers, settings)


class SessionRunner(WholeModelRunner):
    """One session whose first output is ``logits``. Threads may share it."""

    def __init__(self, session: Any, layers: int, settings: dict[str, Any]) -> None:
        super().__init__(layers, settings)
        self._session = session
        self._names = [value.name for value in session.get_inputs()]

    def _logits(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        inputs = graph_inputs(self._names, input_ids, attention_mask, token_type_ids)
        logits: NDArray[np.float32] = self._session.run(None, inputs)[0]
        return logits
