"""The stages of a variant as ONNX Runtime sessions on the CPU."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.chain import RunRow
from fastbert.runtime.engines.cpu.binding import bind, run_error
from fastbert.runtime.engines.cpu.process import share_arena
from fastbert.runtime.engines.cpu.row import RowSession
from fastbert.runtime.engines.cpu.sessions import BatchSessions, SessionPlan, import_onnxruntime
from fastbert.runtime.engines.kept_files import KeptFiles
from fastbert.runtime.manifest import Variant
from fastbert.runtime.tensors import HIDDEN_STATES, LOGITS, MASK, NEXT_HIDDEN_STATES, TOKENS, UNCERTAINTY

_SHAPES_KEPT = 512  # batch shapes whose bindings one thread keeps before it discards them all


def load(
    bundle: Path,
    variant: Variant,
    *,
    threads: int | None = None,
    thread_pool: str = "separate",
    batches: bool = False,
) -> "OnnxRuntimeEngine":
    """Make the sessions of a bundle's variant.

    :param threads: as in `SessionPlan`, and ``thread_pool`` too.
    :param batches: make the sessions that run batches, and no other: a single row then runs as a batch does. False:
        make the session that runs a single row, if the bundle has its model, and those of batches with the first batch.
    :raises UsageError: ``threads`` or ``thread_pool`` is not valid.
    :raises EngineError: ONNX Runtime is missing, or ``thread_pool`` is not available in this process.
    :raises BundleError: an engine file cannot be loaded.
    """
    plan = SessionPlan.from_variant(bundle, variant, threads=threads, thread_pool=thread_pool, batches=batches)
    return OnnxRuntimeEngine(plan)


class _Workspace:
    """One thread's buffers, which all its calls reuse. Stages read one hidden_states buffer and write the other.

    No call allocates arrays of their size, and the same few megabytes stay in the CPU's caches from layer to layer.
    """

    def __init__(self, hidden_size: int, classes: int, stages: int) -> None:
        self._hidden_size = hidden_size
        self._classes = classes
        self._stages = stages
        self._reserve(0, 0)

    def start(self, samples: int, sequence: int) -> "_State":
        """Return the state of a new batch; the buffers grow if it needs more room."""
        if samples > len(self._uncertainty) or samples * sequence > self._tokens or len(self._states) > _SHAPES_KEPT:
            self._reserve(max(samples, len(self._uncertainty)), max(samples * sequence, self._tokens))
        return self.state(samples, sequence, 0)

    def state(self, samples: int, sequence: int, current: int) -> "_State":
        """Return the state of a batch no larger than the one that was started."""
        state = self._states.get((samples, sequence))
        if state is None:
            tokens = samples * sequence
            shape = (samples, sequence, self._hidden_size)
            first, second = (buffer[: tokens * self._hidden_size].reshape(shape) for buffer in self._hidden_states)
            state = self._states[samples, sequence] = _State(
                inputs=tuple(buffer[:tokens].reshape(samples, sequence) for buffer in self._inputs),
                hidden_states=(first, second),
                mask=self._mask[:tokens].reshape(samples, 1, 1, sequence),
                logits=self._logits[:samples],
                uncertainty=self._uncertainty[:samples],
                stages=([None] * self._stages, [None] * self._stages),
            )
        state.current = current
        return state

    def _reserve(self, samples: int, tokens: int) -> None:
        self._tokens = tokens
        self._hidden_states = [np.zeros(tokens * self._hidden_size, np.float32) for _ in range(2)]
        self._mask = np.zeros(tokens, np.float32)
        self._inputs = [np.zeros(tokens, np.int64) for _ in TOKENS]
        self._logits = np.zeros((samples, self._classes), np.float32)
        self._uncertainty = np.zeros(samples, np.float32)
        self._states: dict[tuple[int, int], _State] = {}  # (samples, sequence) -> state


@dataclass
class _State:
    """A batch of one shape: its arrays in a workspace, and the engines bound to them.

    It is valid until its thread calls `OnnxRuntimeEngine.start` again.

    :param inputs: int64 [samples, sequence] each, in the order of `TOKENS`.
    :param hidden_states: float32 [samples, sequence, hidden] each.
    :param mask: float32 [samples, 1, 1, sequence].
    :param logits: float32 [samples, classes], overwritten by every stage.
    :param uncertainty: float32 [samples], overwritten by every stage.
    :param stages: for each value of ``current``: a function that runs each stage, None until its first run.
    :param embeddings: a function that runs the embeddings, None until its first run.
    :param current: which of ``hidden_states`` the next stage reads.
    """

    inputs: tuple[NDArray[np.int64], ...]
    hidden_states: tuple[NDArray[np.float32], NDArray[np.float32]]
    mask: NDArray[np.float32]
    logits: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    stages: tuple[list[Callable[[], None] | None], list[Callable[[], None] | None]]
    embeddings: Callable[[], None] | None = None
    current: int = 0


class OnnxRuntimeEngine:
    """One variant on the CPU. May be shared by threads.

    Hot path: what runs between two stages of a batch of one is kept short (docs/performance.md#single-row).
    """

    max_batch = None
    pools = None

    def __init__(self, plan: SessionPlan) -> None:
        ort = import_onnxruntime()
        share_arena(ort)
        self.stages = len(plan.stages)
        self.run_row: RunRow | None = None
        self._plan = plan
        self._files = KeptFiles(plan.batch_files)
        self._run_options = ort.RunOptions()
        self._sessions: BatchSessions | None = None
        self._loading = threading.Lock()
        self._threads = threading.local()
        if plan.row is None:
            self.classes = self.load_batches().classes
        else:
            session, self.classes = plan.row_session(plan.row)
            # the session maps the file of the embeddings and keeps reading the table from it
            self.run_row = RowSession(session, self._run_options, KeptFiles([plan.embeddings]).check_unchanged).run
            plan.release_memory()

    def load_batches(self) -> BatchSessions:
        """Make the sessions that run batches, unless they are there already."""
        with self._loading:
            if self._sessions is None:
                self._sessions = self._plan.batch_sessions(self._files)
            return self._sessions

    def start(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> _State:
        """Run the embeddings."""
        sessions = self._sessions or self.load_batches()
        workspace = getattr(self._threads, "workspace", None)
        if workspace is None:
            workspace = self._threads.workspace = _Workspace(sessions.hidden_size, sessions.classes, self.stages)
        state: _State = workspace.start(*input_ids.shape)
        ids, mask, types = state.inputs
        ids[:] = input_ids
        mask[:] = attention_mask
        types[:] = token_type_ids
        if state.embeddings is None:
            inputs = dict(zip(TOKENS, state.inputs, strict=True))
            outputs = {HIDDEN_STATES: state.hidden_states[0], MASK: state.mask}
            state.embeddings = bind(sessions.embeddings, inputs, outputs, self._run_options)
        try:
            state.embeddings()
        except Exception as error:
            raise run_error(error) from error
        return state

    def run_stage(self, stage: int, state: _State) -> tuple[_State, NDArray[np.float32]]:
        """Run one stage."""
        run = state.stages[state.current][stage]
        if run is None:
            run = state.stages[state.current][stage] = self._bound_stage(stage, state)
        run()
        state.current = 1 - state.current
        return state, state.uncertainty

    def logits(self, state: _State) -> NDArray[np.float32]:
        """Return the logits of the last exit that ran."""
        return state.logits.copy()

    def keep(self, state: _State, rows: NDArray[np.int64], sequence: int) -> _State:
        """Keep only these samples, and only their first ``sequence`` tokens."""
        hidden_states = state.hidden_states[state.current]
        kept: _State = self._threads.workspace.state(len(rows), sequence, 1 - state.current)
        kept.hidden_states[kept.current][:] = hidden_states[rows, :sequence]
        kept.mask[:] = state.mask[rows, :, :, :sequence]  # indexing copies before anything is written
        return kept

    def _bound_stage(self, number: int, state: _State) -> Callable[[], None]:
        stage = self.load_batches().stages[number]
        hidden_states, mask = state.hidden_states[state.current], state.mask
        outputs = {
            NEXT_HIDDEN_STATES: state.hidden_states[1 - state.current],
            LOGITS: state.logits,
            UNCERTAINTY: state.uncertainty,
        }
        return bind(
            stage.session,
            {HIDDEN_STATES: hidden_states, MASK: mask, **stage.digits},
            {stage.prefix + name: array for name, array in outputs.items()},
            self._run_options,
        )
