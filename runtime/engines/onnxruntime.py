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

__all__ = ["DISABLED_OPTIMIZERS", "THREAD_POOLS", "OnnxRuntimeEngine", "load", "session_options"]

THREAD_POOLS = ("separate", "shared", "host")
_PROVIDER = "CPUExecutionProvider"
# The fused kernel takes 3 to 4 times as long on a CPU as the Add and LayerNormalization that it replaces (130 us
# against 35 us at 64 x 384, onnxruntime 1.32).
DISABLED_OPTIMIZERS = ("SkipLayerNormFusion",)
# A pool's idle threads spin for some 45 ms after each run unless told not to, and so engine k's threads would take
# the processor from engine k + 1 (onnxruntime#17011). 40 us bridge the gaps between the operators of one engine and
# are over before the next engine needs the processor. One global pool for all engines would be as fast, but ONNX
# Runtime 1.32 cannot be told from Python not to spin it, and once it exists no other session of the process, whoever
# makes it, may have threads of its own. Measured: benchmarks/reports/thread_pools.json.
_SPIN_US = 40
_lock = threading.Lock()
_global_pool_threads: int | None = None  # it belongs to the process and is sized once


@dataclass(frozen=True)
class _State:
    """What is kept between two stages. Plain arrays: for these, `run` costs less than OrtValue objects do."""

    hidden_states: NDArray[np.float32]  # [samples, sequence, hidden]
    mask: NDArray[np.float32]  # [samples, 1, 1, sequence]
    logits: NDArray[np.float32] | None = None  # [samples, classes]


class OnnxRuntimeEngine:
    """The stages of one variant, each a session; sessions may be run by several threads at once."""

    def __init__(self, embeddings: Any, stages: list[Any]) -> None:
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
        return _State(
            *self._embeddings.run(
                ["hidden_states", "extended_attention_mask"],
                {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids},
            )
        )

    def run_stage(self, stage: int, state: _State) -> tuple[_State, NDArray[np.float32]]:
        """Run one stage."""
        hidden_states, logits, uncertainty = self._stages[stage].run(
            ["next_hidden_states", "logits", "uncertainty"],
            {"hidden_states": state.hidden_states, "extended_attention_mask": state.mask},
        )
        return _State(hidden_states, state.mask, logits), uncertainty

    def logits(self, state: _State) -> NDArray[np.float32]:
        """Return the logits of the last exit that was run."""
        if state.logits is None:
            raise ValueError("no stage was run on this state")
        return state.logits

    def keep(self, state: _State, rows: NDArray[np.int64]) -> _State:
        """Drop the samples that left."""
        return _State(state.hidden_states[rows], state.mask[rows])


def load(
    bundle: Path, variant: Variant, *, threads: int | None = None, thread_pool: str = "separate"
) -> OnnxRuntimeEngine:
    """Make the sessions.

    :param threads: processor threads for one run; None: the cores that this process may use.
    :param thread_pool: one of `THREAD_POOLS`. ``"separate"``: each engine has its own threads, asleep while other
        engines run. ``"shared"``: all engines use ONNX Runtime's global pool, made with ``threads`` if this process has
        none. ``"host"``: they use the global pool that the host program made; ``threads`` is not used.
    :raises EngineError: ONNX Runtime is missing, or the pool asked for cannot be had in this process.
    :raises BundleError: an engine file cannot be loaded.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "cpu") from error
    if _PROVIDER not in ort.get_available_providers():
        raise EngineError(
            f"{_PROVIDER} was asked for; this onnxruntime {ort.__version__} has "
            f"{', '.join(ort.get_available_providers())}. Install one that has it: pip install 'fastbert-deploy[cpu]'"
        )
    options = session_options(ort, threads=threads, thread_pool=thread_pool)
    sessions = [_session(ort, bundle / name, options, thread_pool) for name in variant.files]
    return OnnxRuntimeEngine(sessions[0], sessions[1:])


def session_options(ort: Any, *, threads: int | None, thread_pool: str = "separate") -> Any:
    """Return session options for one engine of a chain, or for a whole model that is compared with it.

    :raises UsageError: ``threads`` or ``thread_pool`` is not valid.
    :raises EngineError: the process's global pool has another size already.
    """
    if thread_pool not in THREAD_POOLS:
        raise UsageError(f"thread_pool {thread_pool!r} is unknown; use {', '.join(THREAD_POOLS)}.")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; it must be at least 1.")
    threads = threads or usable_cores()
    options = ort.SessionOptions()
    if thread_pool != "separate":
        if thread_pool == "shared":
            _size_global_pool(ort, threads)
        options.use_per_session_threads = False
        return options
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
    return options


def _session(ort: Any, path: Path, options: Any, thread_pool: str) -> Any:
    try:
        session = ort.InferenceSession(
            str(path),
            options,
            providers=[_PROVIDER],
            disabled_optimizers=DISABLED_OPTIMIZERS,
            enable_fallback=0,  # on an error it would print to stdout and try other providers
        )
    except Exception as error:
        if "global" in str(error).lower():
            raise EngineError(
                f"thread_pool={thread_pool!r} cannot be had: whether ONNX Runtime has a global thread pool is settled "
                "by the first session of a process. Use 'host' where the program made one before, 'separate' where it "
                f"did not. ONNX Runtime says: {error}"
            ) from error
        raise BundleError(f"{path} could not be loaded by onnxruntime {ort.__version__}: {error}") from error
    if session.get_providers()[0] != _PROVIDER:
        raise EngineError(f"{path} was asked to run on {_PROVIDER} but runs on {session.get_providers()[0]}.")
    return session


def _size_global_pool(ort: Any, threads: int) -> None:
    global _global_pool_threads
    with _lock:
        if _global_pool_threads is None:
            ort.set_global_thread_pool_sizes(threads, 1)
            _global_pool_threads = threads
        elif _global_pool_threads != threads:
            raise EngineError(
                f"{threads} threads were asked for, but this process's shared pool already has {_global_pool_threads}: "
                "ONNX Runtime sizes it once. Use the same number, or a new process."
            )
