"""The whole model in one ONNX Runtime session, with the chain's session options."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines import onnx_graphs
from fastbert.benchmarks.systems import Answer, Budget, Runner, Sources
from fastbert.runtime.engines.cpu.sessions import DISABLED_OPTIMIZERS, session_options
from fastbert.runtime.manifest import read_manifest

__all__ = ["SessionRunner", "load", "prepare"]

_PROVIDER = "CPUExecutionProvider"
_GRAPHS = {"float32": onnx_graphs.float_model, "int8": onnx_graphs.quantized_model}


def prepare(sources: Sources, *, precision: str) -> None:
    """Write the whole model's graph."""
    _GRAPHS[precision](sources)


def load(sources: Sources, budget: Budget, *, precision: str) -> Runner:
    """Make the session. The optimizers that slow the chain down are off here too: it is the faster way for both.

    In int8 products are what ONNX Runtime's defaults make of them: on a processor without VNNI fast ones, which
    saturate. The chain's own int8 is exact there, `int8-reduced` fast and exact.
    """
    import onnxruntime as ort

    session = ort.InferenceSession(
        str(_GRAPHS[precision](sources)),
        session_options(ort, threads=budget.threads, saturates=False),
        providers=[_PROVIDER],
        disabled_optimizers=DISABLED_OPTIMIZERS,
    )
    return SessionRunner(session, read_manifest(sources.bundle).layers, budget, _PROVIDER)


class SessionRunner:
    """One session that gives ``logits``."""

    def __init__(self, session: Any, layers: int, budget: Budget, asked: str) -> None:
        self._session = session
        self._layers = layers
        self._names = [value.name for value in session.get_inputs()]
        self.settings = {
            "provider": session.get_providers()[0],
            "provider_asked": asked,
            "threads": session.get_session_options().intra_op_num_threads,
            "calls": budget.calls,
        }

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: float | None,
    ) -> Answer:
        """Classify a padded batch."""
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        logits = self._session.run(None, {name: given[name] for name in self._names})[0]
        return logits, np.full(len(logits), self._layers)
