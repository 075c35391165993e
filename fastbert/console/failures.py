"""An error as the one paragraph that the command line prints, and its exit code."""

import re
from collections.abc import Mapping

from fastbert.runtime.errors import FastBertError, MissingDependencyError, UsageError

# module that is missing -> the extra that brings it
EXTRAS = {
    "torch": "train",
    "transformers": "train",
    "accelerate": "train",
    "tqdm": "train",
    "datasets": "data",
    "pyarrow": "data",
    "sklearn": "data",
    "onnx": "export",
    "jsonschema": "export",
    "psutil": "bench",
    "matplotlib": "bench",
    "jinja2": "bench",
    "onnxruntime": "cpu",
    "polygraphy": "build",
}
_PARAMETER = re.compile(r"`(\w+)`")


def exit_code(error: Exception) -> int:
    """Return 2 for wrong usage, 1 for everything else."""
    return 2 if isinstance(error, UsageError) else 1


def describe(error: Exception, flags: Mapping[str, str]) -> str:
    """Return what was wrong and what to do, in one paragraph; ``flags`` as in `spelled`."""
    if isinstance(error, FastBertError):
        return spelled(str(error), flags)
    package = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if package in EXTRAS:
        return str(MissingDependencyError(package, EXTRAS[package]))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}."
    if isinstance(error, UnicodeEncodeError) and error.encoding == "utf-8":
        return f"{error.object} is not UTF-8. Rename it, or run in a UTF-8 locale."
    return f"Unexpected {type(error).__name__}: {error}. Run again with --debug for the traceback, and report it."


def spelled(message: str, flags: Mapping[str, str]) -> str:
    """Return a message of the library as the command line spells it: `max_length` in backquotes becomes --max-length.

    :param flags: parameter of the command that ran -> its flag.
    """
    return _PARAMETER.sub(lambda found: _flag(found[1], flags) or found[0], message)


def _flag(parameter: str, flags: Mapping[str, str]) -> str | None:
    """Return the flag of a parameter; the library's `speeds` is the command line's --speed, since it takes a list."""
    singular = f"{parameter[:-3]}y" if parameter.endswith("ies") else parameter.removesuffix("es")
    candidates = (parameter, parameter.removesuffix("s"), singular)
    return next((flags[name] for name in candidates if name in flags), None)
