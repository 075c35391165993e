"""All errors that fastbert raises for problems the user can fix.

::

    FastBertError
    ├── UsageError            an argument is out of range, or two contradict each other (exit code 2)
    ├── DataError             a data file cannot be read as asked; names file and line
    ├── CheckpointError       a PyTorch checkpoint is missing, of an unknown family, or differs from its config
    ├── BundleError           a bundle is missing, truncated, altered, or of another schema
    ├── VerificationError     engines and PyTorch disagree
    ├── OutputExistsError     the output exists and ``overwrite`` is false
    └── EngineError           the engine asked for cannot run here
        └── MissingDependencyError   a package is not installed; the message has the command

A message says what was asked, what was found, where, and what to do next. The errors are defined in the runtime because
every other part may import it.
"""


class FastBertError(Exception):
    """Base of every error above."""


class UsageError(FastBertError, ValueError):
    """An argument is out of range, or two contradict each other."""


class DataError(FastBertError):
    """A data file cannot be read as asked."""


class CheckpointError(FastBertError):
    """A PyTorch checkpoint cannot be used."""


class BundleError(FastBertError):
    """A bundle is missing, damaged or of another schema."""


class VerificationError(FastBertError):
    """Engines and PyTorch disagree."""


class OutputExistsError(FastBertError):
    """The output exists and ``overwrite`` is false."""


class EngineError(FastBertError):
    """The engine asked for cannot run here."""


class MissingDependencyError(EngineError):
    """A package is not installed.

    :param package: the module that failed to import.
    :param extra: the extra of ``fastbert-deploy`` that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, extra)  # both, since a pickled error is made again from its arguments

    def __str__(self) -> str:
        package, extra = self.args
        return (
            f"This needs the package '{package}', which is not installed here. "
            f"Install it with: pip install 'fastbert-deploy[{extra}]'"
        )
