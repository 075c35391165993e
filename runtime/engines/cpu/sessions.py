"""Which ONNX Runtime sessions a variant needs on the CPU, and with what options."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime import tensors
from fastbert.runtime.engines.cpu.process import release_mapped_pages, return_freed_memory
from fastbert.runtime.engines.kept_files import KeptFiles
from fastbert.runtime.engines.telemetry import warn_of_telemetry
from fastbert.runtime.errors import BundleError, EngineError, MissingDependencyError, UsageError
from fastbert.runtime.hardware import int8_products_saturate, usable_cores
from fastbert.runtime.manifest import Variant

_THREAD_POOLS = ("separate", "host")
# On a CPU the fused kernel is slower than the operators it replaces (not reported upstream): the report is
# studies/reports/layer_forms.json.
DISABLED_OPTIMIZERS = ("SkipLayerNormFusion",)
_PROVIDER = "CPUExecutionProvider"
# How long a pool's idle threads spin after a run, in microseconds: studies/reports/thread_pools.json. In one session,
# long enough to bridge the gaps within a request. With one session per stage each has its own pool, whose spinning
# threads would hold up the next one (onnxruntime#17011), so only the gaps between operators are bridged.
_SPIN_US, _SPIN_US_PER_STAGE = 1000, 40
_MOST_THREADS = 4096  # ONNX Runtime starts them all at once, and where it cannot, fails without a reason


@dataclass(frozen=True)
class _StageRun:
    """How to run a stage.

    :param session: the stage's own, or the one of all stages.
    :param digits: inputs that choose the stage in the session of all stages: bool scalars.
    :param prefix: of its outputs' names.
    """

    session: Any
    digits: dict[str, NDArray[np.bool_]]
    prefix: str


@dataclass(frozen=True)
class BatchSessions:
    """What runs batches."""

    embeddings: Any
    stages: Sequence[_StageRun]
    hidden_size: int
    classes: int


@dataclass(frozen=True, kw_only=True)
class SessionPlan:
    """The files to make sessions of, and the threads that the sessions have.

    :param chain: the model of all stages, one session of which runs batches; None: one session per stage does.
    :param row: the model that runs a single row in one call; None: a single row runs as a batch does.
    :param threads: processor threads for one run; None: the cores that this process may use.
    :param thread_pool: ``"separate"``: the classifier's own threads, which sleep when idle. ``"host"``: the global pool
        of ONNX Runtime, which the host program made and sized.
    :param saturates: whether the weights are so large that int8 products may overflow on an x86 processor without VNNI.
    :raises UsageError: ``threads`` or ``thread_pool`` is not valid, or both are given for the host's pool.
    """

    embeddings: Path
    stages: Sequence[Path]
    chain: Path | None = None
    row: Path | None = None
    threads: int | None = None
    thread_pool: str = "separate"
    saturates: bool = True

    def __post_init__(self) -> None:
        _checked_threads(self.threads)
        if self.thread_pool not in _THREAD_POOLS:
            raise UsageError(f"`thread_pool` is {self.thread_pool!r}; it must be one of {', '.join(_THREAD_POOLS)}.")
        if self.thread_pool == "host" and self.threads is not None:
            raise UsageError(
                f"`threads` is {self.threads}, but `thread_pool` is 'host', whose size the host program chose. "
                "Omit one of the two."
            )

    @classmethod
    def from_variant(
        cls,
        bundle: Path,
        variant: Variant,
        *,
        threads: int | None = None,
        thread_pool: str = "separate",
        batches: bool = False,
    ) -> "SessionPlan":
        """Choose a variant's files. Parameters and errors as in `fastbert.runtime.engines.cpu.load`.

        One session of all stages needs one thread pool instead of one per stage; with a single thread there are no
        pools, and one session per stage loads faster.
        """
        embeddings, stages = bundle / variant.embeddings, [bundle / name for name in variant.stages]
        several_threads = thread_pool == "separate" and _checked_threads(threads) > 1
        joinable = not any(map(_is_link, (embeddings, *stages)))
        return cls(
            embeddings=embeddings,
            stages=stages,
            chain=bundle / variant.chain if several_threads and joinable and variant.chain else None,
            row=bundle / variant.row if not batches and joinable and variant.row else None,
            threads=threads,
            thread_pool=thread_pool,
            saturates=variant.saturates,
        )

    @property
    def batch_files(self) -> list[Path]:
        """The files that `batch_sessions` reads."""
        return [self.embeddings, *self.stages, *([self.chain] if self.chain else [])]

    def spin_us(self, *, one_session: bool) -> int:
        """Return how long idle threads spin after a run, in microseconds."""
        return _SPIN_US if one_session else _SPIN_US_PER_STAGE

    def row_session(self, row: Path) -> tuple[Any, int]:
        """Make the session that runs a single row; return it and its number of classes.

        :raises BundleError: the file is not such a model.
        :raises EngineError: ``thread_pool`` is not available in this process.
        """
        options = self._options(self.threads, self.spin_us(one_session=True))
        options.enable_mem_pattern = True  # few shapes: a row's is its length
        session = self._session(row, options)
        [classes] = _last_sizes(session, tensors.ROW_INPUTS, [tensors.LOGITS])
        return session, classes

    def batch_sessions(self, files: KeptFiles) -> BatchSessions:
        """Make the sessions that run batches. Errors as in `row_session`.

        :param files: `batch_files`, held open; closed when all are read.
        """
        files.check_unchanged()
        in_place = files.are_in_place()
        chain = self.chain if in_place else None  # elsewhere it would not find the files whose weights it reads
        for_stages = self._options(self.threads, self.spin_us(one_session=chain is not None))
        # embeddings are too little work to share, and their threads would spin while the stages begin
        for_embeddings = self._options(1, 0) if self.thread_pool == "separate" else for_stages
        models = [
            (self.embeddings, for_embeddings),
            *((path, for_stages) for path in ([chain] if chain else self.stages)),
        ]

        def load(model: tuple[Path, Any]) -> Any:
            return self._session(*model, contents=None if in_place else files.read(model[0]))

        try:
            with ThreadPoolExecutor(usable_cores()) as pool:  # ONNX Runtime releases the GIL while it packs weights
                embeddings, *sessions = pool.map(load, models)
        except BundleError:
            if not in_place or files.are_in_place():
                raise
            return self.batch_sessions(files)
        if in_place and not files.are_in_place():  # replaced while they were read by their paths
            return self.batch_sessions(files)
        files.check_unchanged()
        files.close()
        self.release_memory()
        return _checked_sessions(embeddings, sessions, len(self.stages))

    def release_memory(self) -> None:
        """Return what loading used to the system."""
        return_freed_memory()
        if self.chain or self.row:
            release_mapped_pages((self.embeddings, *self.stages))

    def _options(self, threads: int | None, spin_us: int) -> Any:
        ort, pool = import_onnxruntime(), self.thread_pool
        options = session_options(ort, threads=threads, thread_pool=pool, spin_us=spin_us, saturates=self.saturates)
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.enable_mem_pattern = False  # one would be kept for each of the many shapes of batches
        return options

    def _session(self, path: Path, options: Any, *, contents: bytes | None = None) -> Any:
        ort = import_onnxruntime()
        try:
            session = ort.InferenceSession(
                str(path) if contents is None else contents,
                options,
                providers=[_PROVIDER],
                disabled_optimizers=DISABLED_OPTIMIZERS,
                enable_fallback=0,  # which would print to stdout and try other providers
            )
        except Exception as error:
            if "global" in str(error).lower():
                raise EngineError(
                    f"`thread_pool` is {self.thread_pool!r}, which is not available in this process: ONNX Runtime "
                    "decides whether it has a global thread pool when a process creates its first session. Use 'host' "
                    "where the program created the pool before that, and 'separate' where it did not. ONNX Runtime "
                    f"says: {error}"
                ) from error
            raise BundleError(f"{path} could not be loaded by onnxruntime {ort.__version__}: {error}") from error
        if session.get_providers()[0] != _PROVIDER:
            raise EngineError(f"{path} should run on {_PROVIDER} but runs on {session.get_providers()[0]}.")
        return session


def import_onnxruntime() -> Any:
    """Import ONNX Runtime, which must have the CPU provider.

    :raises MissingDependencyError: it is not installed.
    :raises EngineError: it has no CPU provider.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "cpu") from error
    warn_of_telemetry()
    if _PROVIDER not in ort.get_available_providers():
        raise EngineError(
            f"device='cpu' needs {_PROVIDER}; the onnxruntime {ort.__version__} installed here has "
            f"{', '.join(ort.get_available_providers())}. Install one that has it: pip install 'fastbert-deploy[cpu]'"
        )
    return ort


def session_options(
    ort: Any,
    *,
    threads: int | None,
    thread_pool: str = "separate",
    spin_us: int = _SPIN_US,
    saturates: bool = True,
) -> Any:
    """Return session options for an engine of the chain, or for a whole model that is compared with it.

    :param threads: None: the cores that this process may use; not used with ``thread_pool="host"``.
    :param saturates: as in `SessionPlan`.
    :raises UsageError: ``threads`` is not valid.
    """
    options = ort.SessionOptions()
    if saturates and int8_products_saturate():
        # Makes weights uint8 too, whose products do not saturate. Only on such processors: ONNX Runtime 1.32 follows
        # this entry on others too, where it slows int8 down.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if thread_pool == "host":
        options.use_per_session_threads = False
        return options
    options.intra_op_num_threads = _checked_threads(threads)
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
    return options


def _checked_threads(threads: int | None) -> int:
    if threads is None:
        return usable_cores()
    if not isinstance(threads, int | np.integer) or not 1 <= threads <= _MOST_THREADS:
        raise UsageError(f"`threads` is {threads!r}; it must be a whole number from 1 to {_MOST_THREADS}.")
    return int(threads)


def _is_link(path: Path) -> bool:
    """Return whether the file is a symbolic or a hard link, as in a Hugging Face cache.

    ONNX Runtime 1.32 refuses to read a branch's weights from one (onnxruntime#27353).
    """
    return path.is_symlink() or (path.exists() and path.stat().st_nlink > 1)


def _checked_sessions(embeddings: Any, sessions: Sequence[Any], count: int) -> BatchSessions:
    """Return how to run each of ``count`` stages, in one session each or in one session of all.

    :raises BundleError: a session has other inputs or outputs than it should.
    """
    if len(sessions) == count:
        stages = [_StageRun(session, {}, "") for session in sessions]
    else:
        [session] = sessions
        digits = [tensors.stage_digits(stage, count).items() for stage in range(count)]
        inputs = [{name: np.array(digit) for name, digit in one} for one in digits]
        stages = [_StageRun(session, one, tensors.CHAIN_PREFIX) for one in inputs]
    first = stages[0]
    _last_sizes(embeddings, tensors.TOKENS, [tensors.HIDDEN_STATES])
    hidden_size, classes = _last_sizes(
        first.session,
        [tensors.HIDDEN_STATES, tensors.MASK, *first.digits],
        [f"{first.prefix}{tensors.NEXT_HIDDEN_STATES}", f"{first.prefix}{tensors.LOGITS}"],
    )
    return BatchSessions(embeddings, stages, hidden_size, classes)


def _last_sizes(session: Any, inputs: Sequence[str], outputs: Sequence[str]) -> list[int]:
    """Return the last dimension of these outputs of a session.

    :raises BundleError: it has other inputs, or lacks one of the outputs.
    """
    names = [value.name for value in session.get_inputs()]
    sizes = {value.name: value.shape[-1] for value in session.get_outputs() if value.shape}
    if set(names) != set(inputs) or not set(outputs) <= set(sizes):
        raise BundleError(
            f"An engine takes {', '.join(names)} and returns {', '.join(sizes)}; expected {', '.join(inputs)} and "
            f"{', '.join(outputs)}. The manifest names the wrong file. Export the bundle again."
        )
    return [sizes[name] for name in outputs]
