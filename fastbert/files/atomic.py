"""Replacing a directory or a file as one step: a reader, or a killed writer, sees the old one or the new one, whole.

A new directory is written beside ``OUTPUT`` under the name ``.OUTPUT.partial-BOOT-RANDOM`` and then moved into place:

- There is nothing at ``OUTPUT``: it is renamed.
- A directory of ours alone stands there: the two are exchanged by one system call on Linux. Where the file system
  cannot do that, two renames are used: a process killed between them leaves the old one as ``.OUTPUT.replaced-...``.
- ``OUTPUT`` cannot or should not be renamed: it is **filled in place**. That is so for a mount point, such as a volume
  of a container; a directory that came with an image (overlayfs); the working directory; one that holds something of
  the user's too. The old record (`kind`) goes first and the new one comes last, so that half of one is never taken for
  whole. All is written before that, so that it takes renames alone. Only what is ours is replaced; an error takes every
  step back. After a kill in between, ``.OUTPUT.replaced-...`` holds what was there, and ``--overwrite`` may fill the
  output again.

Where ``OUTPUT`` is a mount point, or its parent may not be written, the hidden directories lie inside it.
Without ``--overwrite`` nothing that exists is written to, but an empty mount point and an empty working directory.
A link to an empty directory leads to where it is written; with ``--overwrite`` any other link is replaced, and what it
leads to stays. `fastbert.files.claims` knows which hidden directories killed writers left; they never stand in the way.
"""

import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from fastbert.files.claims import hidden_name, is_hidden, new_claimed_directory, remove_dead, turn
from fastbert.runtime.errors import FastBertError, OutputExistsError, UsageError

__all__ = [
    "full_disk_named",
    "replace_directory",
    "replace_file",
    "require_writable",
    "require_writable_file",
    "work_directory",
]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_NO_RENAME = (errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES)  # a mount point, an image's layer, a sticky parent
_NOT_OURS_TO_COUNT = ("lost+found",)  # an empty volume has it
_WORK = ".training"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOTHING_FITS = 64 * 1024  # bytes; a writer that failed for want of space leaves less


def require_writable(output: Path, *, overwrite: bool, kind: str, ours: Sequence[str] = ()) -> None:
    """Raise if `replace_directory` could not write ``output``: to be asked before the work begins.

    :param kind: file that every directory of this kind holds; with ``overwrite`` only such a one, or an empty one, is
        replaced: not a checkpoint by a bundle, nor somebody's working directory by either.
    :param ours: patterns of the names that such a directory holds.
    :raises OutputExistsError: something stands there that may not be replaced.
    :raises UsageError: nothing can be written there.
    """
    try:
        found = _absolute(output)
        _require_utf8(found)
        _require_replaceable(found, overwrite=overwrite, kind=kind, ours=ours)
        _try_to_write(_place(found))
        if found.is_dir() and not found.is_symlink():
            _try_to_write(found)
    except OSError as error:
        raise _cannot_write(output, error) from error


@contextmanager
def replace_directory(output: Path, *, overwrite: bool, kind: str, ours: Sequence[str] = ()) -> Iterator[Path]:
    """Give an empty directory to write into; at the end it becomes ``output``. On an error all stays as it was.

    :param kind: as in `require_writable`.
    :param ours: as in `require_writable`. What else an existing ``output`` holds stays in it.
    :raises OutputExistsError, UsageError: as `require_writable`.
    """
    require_writable(output, overwrite=overwrite, kind=kind, ours=ours)
    output = _absolute(output)
    place, made = _place(output), []
    for parent in (place, *place.parents):
        if parent.is_dir():
            break
        made.append(parent)
    place.mkdir(parents=True, exist_ok=True)
    remove_dead(place, output.name, "partial")
    partial, claim = new_claimed_directory(place, output.name)
    try:
        with full_disk_named(partial, output):
            yield partial
            _move_into_place(partial, output, overwrite=overwrite, kind=kind, ours=ours)
    finally:
        _remove(partial)
        claim.release()
        with suppress(OSError):
            for parent in made:
                parent.rmdir()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; a file that cannot be renamed, such as a container's mount, is overwritten."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / hidden_name(path.name, "partial")
    with full_disk_named(path.parent, path):
        try:
            partial.write_bytes(content)
            try:
                partial.replace(path)
            except OSError as error:
                if error.errno not in _NO_RENAME or path.is_dir():
                    raise
                path.write_bytes(content)
        finally:
            partial.unlink(missing_ok=True)


def require_writable_file(path: Path) -> None:
    """Raise if `replace_file` could not write ``path``: to be asked before the work begins.

    :raises UsageError: it could not.
    """
    try:
        found = _absolute(path)
        if found.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(found))
        _try_to_write(found.parent)
        with suppress(FileNotFoundError):
            found.lstat()
    except OSError as error:
        raise _cannot_write(path, error) from error


def work_directory(output: Path) -> Path:
    """Return where the work that leads to ``output`` lies: ``OUTPUT.training`` beside it, or ``.training`` in it.

    The latter where `replace_directory` writes inside the output.

    :raises UsageError: there cannot be a directory of that name.
    """
    try:
        found = _absolute(output)
        inside, beside = found / _WORK, found.parent / (found.name + _WORK)
        with suppress(FileNotFoundError):
            beside.lstat()
    except OSError as error:
        raise _cannot_write(output, error) from error
    return inside if inside.is_dir() or _place(found) == found else beside


@contextmanager
def full_disk_named(where: Path, output: Path) -> Iterator[None]:
    """Say of an error that came from a full disk that it did: torch and safetensors have errors of their own for it.

    :param where: a directory on the disk.
    :param output: what to name.
    """
    try:
        yield
    except FastBertError:
        raise
    except OSError as error:
        elsewhere = error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(where)
        if error.errno not in _FULL or elsewhere:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(output)) from error
    except Exception as error:
        number = next((code for code in _FULL if os.strerror(code) in str(error)), None)
        if number is None and (free := _free_bytes(where)) is not None and free < _NOTHING_FITS:
            number = errno.ENOSPC
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(output)) from error


def _free_bytes(directory: Path) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None


def _absolute(output: Path) -> Path:
    """Return the path of what is replaced: a link to an empty directory leads there, any other is itself replaced."""
    output = Path(os.path.abspath(output))  # noqa: PTH100 (resolve() would follow a link that stands at `output`)
    return output.resolve() if output.is_symlink() and output.is_dir() and not _held(output) else output


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def _held(directory: Path) -> set[str]:
    """Return the names in a directory, without what hidden writers and a file system put there."""
    return {
        name
        for name in _names(directory)
        if name not in (*_NOT_OURS_TO_COUNT, _WORK)
        and not any(is_hidden(name, directory.name, word) for word in ("partial", "replaced"))
    }


def _is_ours(name: str, ours: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in ours)


def _require_replaceable(output: Path, *, overwrite: bool, kind: str, ours: Sequence[str]) -> None:
    try:
        found = output.lstat()
    except FileNotFoundError:
        return
    empty = stat.S_ISDIR(found.st_mode) and not _held(output)
    if empty and (overwrite or _is_mount(output) or _holds_cwd(output)):  # the latter two are there of necessity
        return
    if not overwrite:
        raise OutputExistsError(f"{output} exists already. Name another --output, or pass --overwrite to replace it.")
    if stat.S_ISLNK(found.st_mode) and not output.exists():
        return
    if not output.is_dir():
        raise OutputExistsError(f"{output} is a file; --overwrite replaces only a directory. Name another --output.")
    if not (output / kind).is_file() and not _was_being_filled(output):
        raise OutputExistsError(
            f"{output} has no {kind}, so --overwrite would lose something of another kind. Name another --output."
        )


def _was_being_filled(output: Path) -> bool:
    """Whether a writer was killed while it filled a directory in place."""
    with suppress(OSError):
        return any(is_hidden(name, output.name, "replaced") for name in _names(_place(output)))
    return False


def _place(output: Path) -> Path:
    """Return the directory to write hidden ones into: on the file system of ``output``, and writable."""
    if output.is_symlink() or not output.is_dir():
        return output.parent
    writable = os.access(output.parent, os.W_OK | os.X_OK)
    return output.parent if writable and not _is_mount(output) else output


def _is_mount(directory: Path) -> bool:
    """Whether something is mounted there: also a directory of the same file system, which os.path.ismount misses."""
    with suppress(OSError):
        mounts = Path("/proc/self/mountinfo").read_bytes().split(b"\n")
        points = [line.split(b" ")[4] for line in mounts if line]
        escaped = os.fsencode(os.path.realpath(directory))
        for character in (b"\\", b" ", b"\t", b"\n"):
            escaped = escaped.replace(character, b"\\%03o" % ord(character))
        if escaped in points:
            return True
    return os.path.ismount(directory)


def _require_utf8(output: Path) -> None:
    """Refuse a name that the libraries which write and read models cannot take: they are not written in Python."""
    try:
        str(output).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{output} cannot be written: the path is not UTF-8. Name another --output.") from error


def _try_to_write(directory: Path) -> None:
    """Make and remove a directory in it, or in the nearest one above it that is there."""
    while not os.path.lexists(directory):
        directory = directory.parent
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    tried = directory / hidden_name(directory.name, "partial")
    try:
        tried.mkdir()
    except OSError as error:
        error.filename = str(directory)
        raise
    with suppress(FileNotFoundError):  # another writer may take it for one that was left behind
        tried.rmdir()


def _cannot_write(output: Path, error: OSError) -> UsageError:
    where = "" if error.filename in (None, str(output)) else f" ({error.filename})"
    return UsageError(f"{output} cannot be written: {error.strerror}{where}. Name another --output.")


def _move_into_place(partial: Path, output: Path, *, overwrite: bool, kind: str, ours: Sequence[str]) -> None:
    if not os.path.lexists(output):
        try:
            partial.rename(output)
            return
        except OSError:
            if not os.path.lexists(output):
                raise  # else another writer was faster
    if output.is_symlink() or not output.is_dir():
        _require_replaceable(output, overwrite=overwrite, kind=kind, ours=ours)
        _exchange_or_rename(partial, output)
        return
    with turn(output):
        _require_replaceable(output, overwrite=overwrite, kind=kind, ours=ours)
        written = set(_names(partial))
        replaced = {name for name in _held(output) if name in written or name == kind or _is_ours(name, ours)}
        in_place = _held(output) != replaced or _is_mount(output) or partial.parent == output or _holds_cwd(output)
        if in_place or not _exchange_or_rename(partial, output):
            _fill(partial, output, sorted(replaced, key=lambda name: name != kind), kind)
        remove_dead(partial.parent, output.name, "replaced")


def _holds_cwd(output: Path) -> bool:
    with suppress(OSError):
        return Path.cwd().is_relative_to(output.resolve())
    return False


def _exchange_or_rename(partial: Path, output: Path) -> bool:
    """Put ``partial`` at ``output``, and what stood there at ``partial``; false where it cannot be renamed."""
    if _exchange(partial, output):
        return True
    aside = partial.with_name(hidden_name(output.name, "replaced"))
    try:
        output.rename(aside)
    except OSError as error:
        if error.errno in _NO_RENAME and not output.is_symlink():
            return False
        raise
    try:
        partial.rename(output)
    except BaseException:
        aside.rename(output)
        raise
    _remove(aside)
    return True


def _exchange(first: Path, second: Path) -> bool:
    """Swap two directories atomically; false where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0


def _fill(partial: Path, output: Path, replaced: Sequence[str], kind: str) -> None:
    """Move what ``partial`` holds into ``output``, and what it replaces out of it first; on an error, all back."""
    aside = partial.with_name(hidden_name(output.name, "replaced"))
    aside.mkdir()
    moves = [(output / name, aside / name) for name in replaced]
    moves += [(partial / name, output / name) for name in sorted(_names(partial), key=lambda name: name == kind)]
    begun = []
    try:
        for source, target in moves:
            begun.append((source, target))
            _move(source, target)
    except BaseException:
        for source, target in reversed(begun):
            if os.path.lexists(target):
                _move(target, source)
        _remove(aside)
        raise
    _remove(aside)


def _move(source: Path, target: Path) -> None:
    """Rename; a directory that cannot be (of an image's layer), or that is there already, file by file."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST) or not source.is_dir():
            raise
        target.mkdir(exist_ok=True)
        for name in _names(source):
            _move(source / name, target / name)
        source.rmdir()


def _remove(path: Path) -> None:
    if path.is_symlink():  # it stood at the output; what it leads to is not ours
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
