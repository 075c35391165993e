"""Every error that fastbert raises for something a user can mend.

::

    FastBertError
    ├── UsageError            an argument is outside its range, or two contradict each other (exit code 2)
    ├── DataError             a data file: which file and line, what was found
    ├── CheckpointError       a PyTorch checkpoint: missing, of an unknown family, not as its config says
    ├── BundleError           a bundle: missing, truncated, altered, or of another schema
    ├── VerificationError     engines and PyTorch disagree
    ├── OutputExistsError     the output is there already, and no --overwrite
    └── EngineError           the engine asked for cannot run here
        └── MissingDependencyError   a package is not installed; the message has the command

A message says what was asked, what was found, where, and what to do next. They stand in the runtime because it is the
part that everything else may import.
"""

__all__ = [
    "BundleError",
    "CheckpointError",
    "DataError",
    "EngineError",
    "FastBertError",
    "MissingDependencyError",
    "OutputExistsError",
    "UsageError",
    "VerificationError",
]


class FastBertError(Exception):
    """Base of every error above."""


class UsageError(FastBertError, ValueError):
    """An argument is outside its range, or two contradict each other."""


class DataError(FastBertError):
    """A data file cannot be read as asked."""


class CheckpointError(FastBertError):
    """A PyTorch checkpoint cannot be used."""


class BundleError(FastBertError):
    """A bundle is missing, damaged or of another schema."""


class VerificationError(FastBertError):
    """Engines and PyTorch disagree."""


class OutputExistsError(FastBertError):
    """The output exists and nobody allowed to replace it."""


class EngineError(FastBertError):
    """The engine asked for cannot run here."""


class MissingDependencyError(EngineError):
    """A package is not installed.

    :param package: the module that failed to import.
    :param extra: the extra of ``fastbert-deploy`` that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package '{package}', which is not installed here. "
            f"Install it with: pip install 'fastbert-deploy[{extra}]'"
        )
