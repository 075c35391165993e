"""Stages as ONNX Runtime sessions on the CPU."""

import ctypes
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.engines.cpu.binding import bound, could_not_run
from fastbert.runtime.engines.cpu.mapped_files import let_go_of
from fastbert.runtime.engines.cpu.row import RowSession
from fastbert.runtime.engines.kept_files import KeptFiles
from fastbert.runtime.engines.telemetry import warn_of_telemetry
from fastbert.runtime.errors import BundleError, EngineError, MissingDependencyError, UsageError
from fastbert.runtime.manifest import Variant, stage_digits
from fastbert.runtime.processor import int8_products_saturate
from fastbert.runtime.threads import usable_cores

__all__ = ["DISABLED_OPTIMIZERS", "THREAD_POOLS", "OnnxRuntimeEngine", "load", "load_files", "session_options"]

THREAD_POOLS = ("separate", "shared", "host")
_PROVIDER = "CPUExecutionProvider"
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_ROW_INPUTS = ("input_ids", "token_type_ids", "speed")
_SHAPES_KEPT = 512  # of batches, whose bindings one thread keeps; then it starts anew
# The fused kernel takes 3 to 4 times as long on a CPU as the Add and LayerNormalization that it replaces (130 us
# against 35 us at 64 x 384, onnxruntime 1.32). Whole layers: studies/reports/layer_forms.json.
DISABLED_OPTIMIZERS = ("SkipLayerNormFusion",)
# A pool's idle threads spin for some 45 ms after each run unless told not to. 1 ms bridges the gaps within a request.
# Without a model of all stages each has a pool of its own, and a thread of one that spins takes the processor from the
# next (onnxruntime#17011): 40 us bridge the gaps between operators. One global pool for all sessions would be as fast
# as one session, but ONNX Runtime 1.32 cannot be told from Python not to spin it, and once it exists no other session
# of the process, whoever makes it, may have threads of its own. Measured: studies/reports/thread_pools.json.
_SPIN_US, _SPIN_US_A_STAGE = 1000, 40
_MOST_THREADS = 4096  # ONNX Runtime starts them all at once, and fails without a reason where it cannot
_lock = threading.Lock()
_global_pool_threads: int | None = None  # it belongs to the process and is sized once
_arena_shared = False


class _Workspace:
    """One thread's buffers: hidden_states go back and forth between two, and each engine is bound to them once a shape.

    Reused from call to call, so that a call allocates nothing of their size, and the processor's caches see the same
    few megabytes at every layer.
    """

    def __init__(self, hidden_size: int, classes: int, stages: int) -> None:
        self._hidden_size = hidden_size
        self._classes = classes
        self._stages = stages
        self._reserve(0, 0)

    def start(self, samples: int, sequence: int) -> "_State":
        """Return the place of a new batch, with more room than before if it needs it."""
        if samples > len(self._uncertainty) or samples * sequence > self._tokens or len(self._states) > _SHAPES_KEPT:
            self._reserve(max(samples, len(self._uncertainty)), max(samples * sequence, self._tokens))
        return self.state(samples, sequence, 0)

    def state(self, samples: int, sequence: int, current: int) -> "_State":
        """Return the place of a batch no larger than the one that was started."""
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
        self._inputs = [np.zeros(tokens, np.int64) for _ in _INPUTS]
        self._logits = np.zeros((samples, self._classes), np.float32)
        self._uncertainty = np.zeros(samples, np.float32)
        self._states: dict[tuple[int, int], _State] = {}  # of a batch of (samples, sequence)


@dataclass
class _State:
    """A batch of one shape: its arrays in a workspace, and the engines bound to them.

    It is the batch's until its thread calls `OnnxRuntimeEngine.start` again.

    :param inputs: int64 [samples, sequence] each, in the order of `_INPUTS`.
    :param hidden_states: float32 [samples, sequence, hidden], two; ``current`` is the one that the next stage reads.
    :param mask: float32 [samples, 1, 1, sequence].
    :param logits: float32 [samples, classes], and ``uncertainty``, float32 [samples]: where every stage writes them.
    :param stages: for each value of ``current``: what runs a stage, or None until it is first run.
    """

    inputs: tuple[NDArray[np.int64], ...]
    hidden_states: tuple[NDArray[np.float32], NDArray[np.float32]]
    mask: NDArray[np.float32]
    logits: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    stages: tuple[list[Callable[[], None] | None], list[Callable[[], None] | None]]
    embeddings: Callable[[], None] | None = None
    current: int = 0


@dataclass(frozen=True)
class _Stage:
    """How to run a stage.

    :param session: the stage's own, or that of all stages.
    :param digits: inputs that choose the stage: bool scalars.
    :param outputs: what precedes the names of its outputs.
    """

    session: Any
    digits: dict[str, NDArray[np.bool_]]
    outputs: str


@dataclass(frozen=True)
class _Sessions:
    """What runs batches.

    :param sizes: hidden size, classes, number of stages.
    """

    embeddings: Any
    stages: Sequence[_Stage]
    sizes: tuple[int, int, int]


class OnnxRuntimeEngine:
    """One variant on the CPU; may be run by several threads at once.

    At batch 1, Python's code has left the caches when a request comes after other work or a stage has streamed its
    weights through them, and takes several times what it takes in a loop of its own: so what a request and a stage
    run here and in `run_chain` is short.

    :param stages: number of stages.
    :param make_sessions: makes what runs batches; called once, by `load_batches` or when the first one comes.
    :param row: what runs a single row in one call; None: it runs as a batch does.
    :param classes: how many the row's session tells apart; None: what runs batches is asked.
    """

    max_batch = None

    def __init__(
        self,
        stages: int,
        make_sessions: Callable[[], _Sessions],
        run_options: Any,
        row: RowSession | None = None,
        classes: int | None = None,
    ) -> None:
        self.stages = stages
        self._make_sessions = make_sessions
        self._run_options = run_options
        self._classes = classes
        self.run_row = None if row is None else row.run
        self._sessions: _Sessions | None = None
        self._loading = threading.Lock()
        self._threads = threading.local()

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.load_batches().sizes[1] if self._classes is None else self._classes

    def load_batches(self) -> _Sessions:
        """Get ready for batches."""
        with self._loading:
            if self._sessions is None:
                self._sessions = self._make_sessions()
            return self._sessions

    def start(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> _State:
        """Run the embeddings."""
        sessions = self._sessions or self.load_batches()
        workspace = getattr(self._threads, "workspace", None)
        if workspace is None:
            workspace = self._threads.workspace = _Workspace(*sessions.sizes)
        state: _State = workspace.start(*input_ids.shape)
        ids, mask, types = state.inputs
        ids[:] = input_ids
        mask[:] = attention_mask
        types[:] = token_type_ids
        if state.embeddings is None:
            outputs = {"hidden_states": state.hidden_states[0], "extended_attention_mask": state.mask}
            inputs = dict(zip(_INPUTS, state.inputs, strict=True))
            state.embeddings = bound(sessions.embeddings, inputs, outputs, self._run_options)
        try:
            state.embeddings()
        except Exception as error:
            raise could_not_run(error) from error
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
        """Return the logits of the last exit that was run."""
        return state.logits.copy()

    def keep(self, state: _State, rows: NDArray[np.int64], sequence: int) -> _State:
        """Drop the samples that left, and what is padding in all others."""
        hidden_states = state.hidden_states[state.current]
        kept: _State = self._threads.workspace.state(len(rows), sequence, 1 - state.current)
        kept.hidden_states[kept.current][:] = hidden_states[rows, :sequence]
        kept.mask[:] = state.mask[rows, :, :, :sequence]  # indexing copies before anything is written
        return kept

    def _bound_stage(self, number: int, state: _State) -> Callable[[], None]:
        stage = self.load_batches().stages[number]
        hidden_states, mask = state.hidden_states[state.current], state.mask
        outputs = {
            "next_hidden_states": state.hidden_states[1 - state.current],
            "logits": state.logits,
            "uncertainty": state.uncertainty,
        }
        return bound(
            stage.session,
            {"hidden_states": hidden_states, "extended_attention_mask": mask, **stage.digits},
            {stage.outputs + name: array for name, array in outputs.items()},
            self._run_options,
        )


def load(
    bundle: Path,
    variant: Variant,
    *,
    threads: int | None = None,
    thread_pool: str = "separate",
    batches: bool = False,
) -> OnnxRuntimeEngine:
    """Make the sessions of a bundle's variant; parameters and errors as in `load_files`.

    A single row has a session of its own, in which it runs until an exit answers, if the bundle has the model for it.
    Stages that would each have several threads of their own become one session likewise; otherwise each has one, as
    they load faster. Where the bundle's files are links, neither can be.

    :param batches: get ready for batches instead of single rows, which then run as batches do.
    """
    embeddings, stages = bundle / variant.embeddings, [bundle / name for name in variant.stages]
    several = thread_pool == "separate" and _checked_threads(threads) > 1
    joinable = not any(map(_is_link, (embeddings, *stages)))
    return load_files(
        embeddings,
        stages,
        chain=bundle / variant.chain if several and joinable and variant.chain else None,
        row=bundle / variant.row if not batches and joinable and variant.row else None,
        threads=threads,
        thread_pool=thread_pool,
        saturates=variant.saturates,
    )


def _is_link(path: Path) -> bool:
    """Return whether ONNX Runtime 1.32 refuses the file as external data of a branch: a symbolic or a hard link.

    A Hugging Face cache is made of such.
    """
    return path.is_symlink() or (path.exists() and path.stat().st_nlink > 1)


def load_files(
    embeddings: Path,
    stages: Sequence[Path],
    *,
    chain: Path | None = None,
    row: Path | None = None,
    threads: int | None = None,
    thread_pool: str = "separate",
    spin_us: int | None = None,
    saturates: bool = True,
) -> OnnxRuntimeEngine:
    """Make the sessions.

    :param chain: the model of all stages; None: there is none, each stage gets a session.
    :param row: the model that runs a single row; what runs batches is then loaded with the first batch. None:
        there is none, a single row runs as a batch does.
    :param threads: processor threads for one run; None: the cores that this process may use.
    :param thread_pool: one of `THREAD_POOLS`. ``"separate"``: the classifier has its own threads, asleep when idle.
        ``"shared"``: ONNX Runtime's global pool, made with ``threads`` if this process has none. ``"host"``: the global
        pool that the host program made; ``threads`` is not used.
    :param spin_us: microseconds that idle threads of a pool of ours spin before they sleep; None: as measured best.
    :param saturates: as in `session_options`.
    :raises EngineError: ONNX Runtime is missing, or the pool asked for cannot be had in this process.
    :raises BundleError: an engine file cannot be loaded.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "cpu") from error
    warn_of_telemetry()
    if _PROVIDER not in ort.get_available_providers():
        raise EngineError(
            f"{_PROVIDER} was asked for; this onnxruntime {ort.__version__} has "
            f"{', '.join(ort.get_available_providers())}. Install one that has it: pip install 'fastbert-deploy[cpu]'"
        )

    def options(threads: int | None, default_spin_us: int) -> Any:
        spin = default_spin_us if spin_us is None else spin_us
        made = session_options(ort, threads=threads, thread_pool=thread_pool, spin_us=spin, saturates=saturates)
        made.add_session_config_entry("session.use_env_allocators", "1")
        made.enable_mem_pattern = False  # one is kept for every shape, and those of batches are many
        return made

    def session(path: Path, options: Any, contents: bytes | None = None) -> Any:
        return _session(ort, path, options, thread_pool=thread_pool, contents=contents)

    def give_back_memory() -> None:
        _give_back_freed_memory()
        if chain or row:
            let_go_of((embeddings, *stages))

    kept = KeptFiles([embeddings, *stages, *([chain] if chain else [])])

    def make_sessions() -> _Sessions:
        kept.check_unwritten()
        in_place = kept.are_where_they_were()
        # elsewhere, the model of all stages would not find the files whose weights it reads
        joined = chain if in_place else None
        for_stages = options(threads, _SPIN_US if joined else _SPIN_US_A_STAGE)
        # embeddings are too little work to share, and their threads would spin when the stages begin
        for_embeddings = options(1, 0) if thread_pool == "separate" else for_stages
        files = [(embeddings, for_embeddings), *((file, for_stages) for file in ([joined] if joined else stages))]

        def load_one(file: tuple[Path, Any]) -> Any:
            return session(*file) if in_place else session(*file, contents=kept.read(file[0]))

        try:
            with ThreadPoolExecutor(usable_cores()) as pool:  # each packs its weights, and holds no lock meanwhile
                first, *others = pool.map(load_one, files)
        except BundleError:
            if not in_place or kept.are_where_they_were():
                raise
            return make_sessions()
        if in_place and not kept.are_where_they_were():  # replaced while it was read by its path
            return make_sessions()
        kept.check_unwritten()
        kept.close()
        give_back_memory()
        return _joined(first, others, len(stages))

    _share_arena(ort)
    run_options = ort.RunOptions()
    row_session = classes = None
    if row is not None:
        for_rows = options(threads, _SPIN_US)
        for_rows.enable_mem_pattern = True  # a row's shape is its length
        made = session(row, for_rows)
        [classes] = _last_sizes(made, _ROW_INPUTS, ["logits"])
        # the embedding table stays in its file, which is mapped
        row_session = RowSession(made, run_options, KeptFiles([embeddings]).check_unwritten)
    engine = OnnxRuntimeEngine(len(stages), make_sessions, run_options, row_session, classes)
    if row_session is None:
        engine.load_batches()
    else:
        give_back_memory()
    return engine


def _joined(embeddings: Any, sessions: Sequence[Any], count: int) -> _Sessions:
    """Return how to run each stage, in one session each or in one of all."""
    if len(sessions) == count:
        stages = [_Stage(session, {}, "") for session in sessions]
    else:
        [session] = sessions
        digits = [stage_digits(stage, count) for stage in range(count)]
        stages = [_Stage(session, {name: np.array(digit) for name, digit in one.items()}, "chain/") for one in digits]
    first = stages[0]
    _last_sizes(embeddings, _INPUTS, ["hidden_states"])
    hidden_size, classes = _last_sizes(
        first.session,
        ["hidden_states", "extended_attention_mask", *first.digits],
        [f"{first.outputs}next_hidden_states", f"{first.outputs}logits"],
    )
    return _Sessions(embeddings, stages, (hidden_size, classes, count))


def _last_sizes(session: Any, inputs: Sequence[str], outputs: Sequence[str]) -> list[int]:
    """Return the last dimension of these outputs of an engine.

    :raises BundleError: it takes other inputs, or has no such output.
    """
    taken = [value.name for value in session.get_inputs()]
    sizes = {value.name: value.shape[-1] for value in session.get_outputs() if value.shape}
    if set(taken) != set(inputs) or not set(outputs) <= set(sizes):
        raise BundleError(
            f"An engine makes {', '.join(sizes)} of {', '.join(taken)}; it was to make {', '.join(outputs)} of "
            f"{', '.join(inputs)}. The manifest names another file than was meant. Export the bundle again."
        )
    return [sizes[name] for name in outputs]


def session_options(
    ort: Any,
    *,
    threads: int | None,
    thread_pool: str = "separate",
    spin_us: int = _SPIN_US,
    saturates: bool = True,
) -> Any:
    """Return session options for one engine of a chain, or for a whole model that is compared with it.

    :param saturates: whether weights are so large that int8 products may, on a processor without VNNI.
    :raises UsageError: ``threads`` or ``thread_pool`` is not valid.
    :raises EngineError: the process's global pool has another size already.
    """
    if thread_pool not in THREAD_POOLS:
        raise UsageError(f"thread_pool {thread_pool!r} is unknown; use {', '.join(THREAD_POOLS)}.")
    threads = _checked_threads(threads)
    options = ort.SessionOptions()
    if saturates and int8_products_saturate():
        # Weights become uint8 too, whose products do not saturate. Only there: on a processor with AMX, ONNX Runtime
        # 1.32 does not ignore this entry, and int8 takes 2.7 times as long.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if thread_pool != "separate":
        if thread_pool == "shared":
            _size_global_pool(ort, threads)
        options.use_per_session_threads = False
        return options
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
    return options


def _checked_threads(threads: int | None) -> int:
    if threads is None:
        return usable_cores()
    if not isinstance(threads, int | np.integer) or not 1 <= threads <= _MOST_THREADS:
        raise UsageError(f"threads is {threads!r}; it must be a whole number, at least 1 and at most {_MOST_THREADS}.")
    return int(threads)


def _session(ort: Any, path: Path, options: Any, *, thread_pool: str, contents: bytes | None = None) -> Any:
    try:
        session = ort.InferenceSession(
            str(path) if contents is None else contents,
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


def _share_arena(ort: Any) -> None:
    """Give the process one memory arena, for the sessions that ask for it.

    With an arena each, every layer works in memory of its own, which the caches have never seen: 1.14 times the whole
    model's time at 12 x 768, where one arena takes 1.04 times.
    """
    global _arena_shared
    with _lock:
        if not _arena_shared:
            info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
            try:
                ort.create_and_register_allocator(info, None)
            except Exception as error:
                if "already" not in str(error):  # the host program shares one; that serves as well
                    raise
            _arena_shared = True


def _give_back_freed_memory() -> None:
    """Let the C library return what loading used and freed: 0.18 GB at 12 x 768, which it would otherwise keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # glibc has it
    if trim is not None:
        trim(0)


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
