"""An error as the one paragraph that the command line prints, and its exit code."""

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

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
    """Return what was wrong and what to do, in one paragraph.

    :param flags: parameter of the command that ran -> how the command line spells it. The library's messages have
        parameters in backquotes: `max_length` becomes --max-length.
    """
    if isinstance(error, FastBertError):
        return _PARAMETER.sub(lambda found: _flag(found[1], flags) or found[0], str(error))
    package = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if package in EXTRAS:
        return str(MissingDependencyError(package, EXTRAS[package]))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}."
    if isinstance(error, UnicodeEncodeError) and error.encoding == "utf-8":
        return f"{error.object} is not UTF-8. Rename it, or run in a UTF-8 locale."
    return f"Unexpected {type(error).__name__}: {error}. Run again with --debug for the traceback, and report it."


def _flag(parameter: str, flags: Mapping[str, str]) -> str | None:
    """Return the flag of a parameter; the library's `speeds` is the command line's --speed, since it takes a list."""
    candidates = (parameter, parameter.removesuffix("s"), parameter.removesuffix("es"))
    return next((flags[name] for name in candidates if name in flags), None)


def other_fastbert() -> str | None:
    """Return what to do where the unrelated package ``fastbert`` is installed too, whose files are named like ours."""
    try:
        found = version("fastbert")
    except PackageNotFoundError:
        return None
    return (
        f"The package fastbert {found} is installed in this environment. It is another project with the same import "
        "name, and one overwrites the other's files. Remove it and install this one again: pip uninstall -y fastbert; "
        "pip install --force-reinstall --no-deps fastbert-deploy"
    )
