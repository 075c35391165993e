"""Stages as ONNX Runtime sessions on the CPU."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.errors import BundleError, EngineError, MissingDependencyError, UsageError
from fastbert.runtime.manifest import Variant
from fastbert.runtime.threads import usable_cores

__all__ = ["THREAD_POOLS", "OnnxRuntimeEngine", "load", "session_options"]

THREAD_POOLS = ("shared", "separate")
_PROVIDER = "CPUExecutionProvider"
_lock = threading.Lock()
_shared_pool_threads: int | None = None  # ONNX Runtime's global pool belongs to the process and is sized once


@dataclass(frozen=True)
class _State:
    """What is kept between two stages; all `onnxruntime.OrtValue`."""

    hidden_states: Any  # float32 [samples, sequence, hidden]
    mask: Any  # float32 [samples, 1, 1, sequence]
    logits: Any = None  # float32 [samples, classes]


class OnnxRuntimeEngine:
    """The stages of one variant, each a session; sessions may be run by several threads at once."""

    def __init__(self, ort: Any, embeddings: Any, stages: list[Any]) -> None:
        self._ort_value = ort.OrtValue.ortvalue_from_numpy
        self._embeddings = embeddings
        self._stages = stages

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self._stages)

    def start(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> _State:
        """Run the embeddings."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        values = {name: self._ort_value(np.ascontiguousarray(array)) for name, array in inputs.items()}
        hidden_states, mask = self._embeddings.run_with_ort_values(
            ["hidden_states", "extended_attention_mask"], values
        )
        return _State(hidden_states, mask)

    def run_stage(self, stage: int, state: _State) -> tuple[_State, NDArray[np.float32]]:
        """Run one stage."""
        hidden_states, logits, uncertainty = self._stages[stage].run_with_ort_values(
            ["next_hidden_states", "logits", "uncertainty"],
            {"hidden_states": state.hidden_states, "extended_attention_mask": state.mask},
        )
        return _State(hidden_states, state.mask, logits), uncertainty.numpy()

    def logits(self, state: _State) -> NDArray[np.float32]:
        """Return the logits of the last exit that was run."""
        return state.logits.numpy()

    def keep(self, state: _State, rows: NDArray[np.int64]) -> _State:
        """Drop the samples that left."""
        return _State(
            self._ort_value(state.hidden_states.numpy()[rows]),
            self._ort_value(state.mask.numpy()[rows]),
        )


def load(bundle: Path, variant: Variant, *, threads: int | None = None, thread_pool: str = "shared") -> OnnxRuntimeEngine:
    """Make the sessions.

    :param threads: processor threads for one run; None: the cores that this process may use.
    :param thread_pool: ``"shared"``: one pool for every engine of the process, ONNX Runtime's global one.
        ``"separate"``: a pool for each engine, for hosts that own the global pool.
    :raises EngineError: ONNX Runtime is missing, or the process's pool has another size.
    :raises BundleError: an engine file cannot be loaded.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "cpu") from error
    if _PROVIDER not in ort.get_available_providers():
        raise EngineError(
            f"{_PROVIDER} was asked for; this onnxruntime {ort.__version__} has {', '.join(ort.get_available_providers())}. "
            "Install one that has it: pip install 'fastbert-deploy[cpu]'"
        )
    options = session_options(ort, threads=threads, thread_pool=thread_pool)

    def session(name: str) -> Any:
        try:
            made = ort.InferenceSession(str(bundle / name), options, providers=[_PROVIDER])
        except Exception as error:
            raise BundleError(f"{bundle / name} could not be loaded by onnxruntime {ort.__version__}: {error}") from error
        if made.get_providers()[0] != _PROVIDER:
            raise EngineError(f"{bundle / name} was asked to run on {_PROVIDER} but runs on {made.get_providers()[0]}.")
        return made

    return OnnxRuntimeEngine(ort, session(variant.embeddings), [session(name) for name in variant.stages])


def session_options(ort: Any, *, threads: int | None, thread_pool: str) -> Any:
    """Return session options for one engine of a chain, or for a whole model that is compared with it.

    :raises UsageError: ``threads`` or ``thread_pool`` is not valid.
    :raises EngineError: the process's pool has another size already.
    """
    if thread_pool not in THREAD_POOLS:
        raise UsageError(f"thread_pool {thread_pool!r} is unknown; use {' or '.join(THREAD_POOLS)}.")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; it must be at least 1.")
    threads = threads or usable_cores()
    options = ort.SessionOptions()
    if threads > 1 and thread_pool == "shared":
        _size_shared_pool(ort, threads)
        options.use_per_session_threads = False
        return options
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A session's own pool spins for some 50 ms after each run unless told not to: engine k's idle threads would then
    # take the processor from engine k + 1 (onnxruntime#17011).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _size_shared_pool(ort: Any, threads: int) -> None:
    global _shared_pool_threads
    with _lock:
        if _shared_pool_threads is None:
            ort.set_global_thread_pool_sizes(threads, 1)
            _shared_pool_threads = threads
        elif _shared_pool_threads != threads:
            raise EngineError(
                f"{threads} threads were asked for, but this process's shared pool already has {_shared_pool_threads}: "
                "ONNX Runtime sizes it once. Use the same number, threads=1, thread_pool='separate', or a new process."
            )
