"""Replacing a directory as one step: a reader, or a killed writer, sees the old one or the new one, whole."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastbert.runtime.errors import OutputExistsError

__all__ = ["replace_directory", "require_absent"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h


def require_absent(output: Path, *, overwrite: bool, kind: str) -> None:
    """Raise if ``output`` exists and may not be replaced.

    :param kind: file that every directory of this kind holds; with ``overwrite`` only such a one, or an empty one, is
        replaced: not a checkpoint by a bundle, nor somebody's working directory by either.
    :raises OutputExistsError: it may not.
    """
    if not output.exists():
        return
    if not overwrite:
        raise OutputExistsError(f"{output} exists already. Name another --output, or pass --overwrite to replace it.")
    if output.is_file():
        raise OutputExistsError(f"{output} is a file; --overwrite replaces only a directory. Name another --output.")
    if not (output / kind).is_file() and any(output.iterdir()):
        raise OutputExistsError(
            f"{output} has no {kind}, so --overwrite would lose something of another kind. Name another --output."
        )


@contextmanager
def replace_directory(output: Path, *, overwrite: bool, kind: str) -> Iterator[Path]:
    """Give an empty directory beside ``output`` to write into; at the end it becomes ``output``.

    On an error nothing is left and an existing ``output`` stays as it was. On Linux the old directory and the new one
    are exchanged by one system call. Where the file system cannot do that, two renames are used: a process killed
    between them leaves the old directory under the name ``.NAME.replaced-PID``.

    :param kind: as in `require_absent`.
    :raises OutputExistsError: as `require_absent`.
    """
    output = Path(os.path.abspath(output))  # noqa: PTH100 (resolve() would follow a link that stands at `output`)
    require_absent(output, overwrite=overwrite, kind=kind)
    output.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(output)
    partial = output.with_name(f".{output.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        if not output.exists():
            partial.rename(output)
        elif not _exchange(partial, output):
            replaced = output.with_name(f".{output.name}.replaced-{os.getpid()}")
            output.rename(replaced)
            partial.rename(output)
            _remove(replaced)
    finally:
        _remove(partial)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two directories atomically; false where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0


def _remove(path: Path) -> None:
    if path.is_symlink():  # it stood at the output; what it leads to is not ours
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _remove_leftovers(output: Path) -> None:
    """Remove what killed writers of the same output left behind."""
    for leftover in output.parent.glob(f".{output.name}.partial-*"):
        pid = leftover.name.rpartition("-")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _remove(leftover)
