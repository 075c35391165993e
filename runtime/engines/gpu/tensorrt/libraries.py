"""TensorRT and TensorRT for RTX: what differs between them, and how each is imported.

The two have the same classes: builder, network, parser, profiles, contexts. So all other code takes one of
`LIBRARIES` and asks it. TensorRT builds an engine on the GPU that will run it. TensorRT for RTX builds ahead of time,
without a GPU, and compiles the rest just in time on any GPU of its set.
"""

import importlib
import logging
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

from fastbert.runtime.engines.gpu.tensorrt.compute_capabilities import known_to
from fastbert.runtime.errors import EngineError, MissingDependencyError

_log = logging.getLogger("fastbert.tensorrt")
_EXPECTED = "has Int64 binding"  # a warning of the parser for each input of ids, which are int64 here


@dataclass(frozen=True)
class Library:
    """One of the two libraries.

    :param name: of its device, and of a variant's ``engine``.
    :param title: its name in messages.
    :param module: to import.
    :param major: the version that this code is for.
    :param extra: of ``fastbert-deploy``, which installs it.
    :param build_extra: installs what ``fastbert build`` needs, too.
    :param compute_capabilities: GPUs that an engine runs on unless a build asks for others, such as ``"8.9"``;
        ``">12.0"``: every later one. Empty: an engine runs only on the architecture that it was built on.
    :param no_exits: compute capabilities that it builds for, but not the exits, as it has no float32 product there.
    :param flags: of the builder.
    :param runtime_config: contexts are made from a config, which has the cache of what is compiled just in time.
    :param timing_cache: the builder times its choices on the GPU and can keep the times.
    :param reports_types: an engine's inspector names the types of its layers.
    :param single_row: it is known to build the engine of a single row.
    :param checks_headers: a plan's header can be checked without a GPU.
    """

    name: str
    title: str
    module: str
    major: int
    extra: str
    build_extra: str
    compute_capabilities: tuple[str, ...]
    no_exits: tuple[str, ...]
    flags: tuple[str, ...]
    runtime_config: bool
    timing_cache: bool
    reports_types: bool
    single_row: bool
    checks_headers: bool

    @property
    def portable(self) -> bool:
        """Whether engines are built without a GPU, for GPUs of several architectures."""
        return bool(self.compute_capabilities)

    def targets(self, trt: Any) -> tuple[str, ...]:
        """Return the compute capabilities that a build can name, in ascending order.

        :param trt: the module of a portable library.
        """
        return tuple(each for each in known_to(trt) if each not in self.no_exits)

    def load(self) -> Any:
        """Import the library's module.

        :raises MissingDependencyError: it is not installed.
        :raises EngineError: another major version is installed, or one that cannot be loaded.
        """
        try:
            module = importlib.import_module(self.module)
        except (ImportError, OSError) as error:  # its package loads shared libraries, of its own and of CUDA
            if isinstance(error, ModuleNotFoundError) and error.name == self.module:
                raise MissingDependencyError(self.module, self.extra) from error
            raise EngineError(
                f"{self.title} is installed, but cannot be loaded: {error}. Install all of it again with: "
                f"pip install --force-reinstall 'fastbert-deploy[{self.extra}]'"
            ) from error
        if module.__version__.split(".")[0] != str(self.major):
            raise EngineError(
                f"{self.title} {module.__version__} is installed; this fastbert uses {self.title} {self.major}, which "
                f"takes the precision from the graph. Install it with: pip install 'fastbert-deploy[{self.extra}]'"
            )
        return module


TENSORRT = Library(
    name="tensorrt",
    title="TensorRT",
    module="tensorrt",
    major=11,
    extra="tensorrt",
    build_extra="build",
    compute_capabilities=(),
    no_exits=(),
    flags=(),  # none: the graphs contain the precision
    runtime_config=False,
    timing_cache=True,
    reports_types=True,
    single_row=False,  # not tried
    checks_headers=False,
)
TENSORRT_RTX = Library(
    name="tensorrt-rtx",
    title="TensorRT for RTX",
    module="tensorrt_rtx",
    major=1,
    extra="tensorrt-rtx",
    build_extra="tensorrt-rtx",
    compute_capabilities=("8.0", "8.6", "8.9", "12.0", "12.1", ">12.0"),
    no_exits=("7.5",),
    # its documents require it for engines that a CUDA graph captures; all memory is then what we give it
    flags=("REQUIRE_USER_ALLOCATION",),
    runtime_config=True,
    timing_cache=False,  # its calls do nothing but warn
    reports_types=False,  # types are those of the graph, and kernels are compiled on the device
    single_row=True,
    checks_headers=True,
)
LIBRARIES = {library.name: library for library in (TENSORRT, TENSORRT_RTX)}


class Log:
    """A library's messages: warnings go to Python's log, the last errors are kept for the errors raised here.

    May be shared by threads, which then see each other's errors.

    :param trt_logger: the logger that the library's objects take.
    """

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=5)
        self.trt_logger: Any = None

    def add_error(self, message: str) -> None:
        """Keep an error."""
        self._errors.append(message)

    def take_errors(self) -> str:
        """Return the errors since the last call, as one text."""
        taken = []
        while self._errors:
            taken.append(self._errors.popleft())
        return " ".join(taken) or "it gave no reason"


_logs: "weakref.WeakKeyDictionary[Any, Log]" = weakref.WeakKeyDictionary()
_making = threading.Lock()


def log_of(trt: Any) -> Log:
    """Return the log of a library's module: one per process, as the library ignores every logger after the first."""
    with _making:
        if trt not in _logs:
            _logs[trt] = _make_log(trt)
        return _logs[trt]


def _make_log(trt: Any) -> Log:
    log = Log()

    class TrtLogger(trt.ILogger):  # type: ignore[misc]  # the libraries ship no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                log.add_error(msg)
            elif severity == trt.ILogger.Severity.WARNING and _EXPECTED not in msg:
                _log.warning("TensorRT: %s", msg)

    log.trt_logger = TrtLogger()
    return log
