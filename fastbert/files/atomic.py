"""Replace a directory or a file in one step: a reader, or a killed writer, sees the old one or the new one, whole.

A new directory is written beside ``OUTPUT`` under the name ``.OUTPUT.partial-BOOT-RANDOM``, and then moved into place:

- Nothing exists at ``OUTPUT``: the new directory is renamed.
- A directory that holds only our files: on Linux, one system call exchanges the two. Where the file system cannot do
  that, two renames do; a process killed between them leaves the old directory as ``.OUTPUT.replaced-...``.
- A directory that cannot or should not be renamed is **filled in place**: a mount point, such as a container volume; a
  directory of a container's image (overlayfs); the working directory; and one that also holds the user's files.
  Everything has been written by then, so filling takes renames only. The old `kind` file goes first and the new one
  comes last, so that half a directory is never mistaken for a whole one. Only our files are replaced, and an error
  undoes every step. After a kill in between, ``.OUTPUT.replaced-...`` holds the old files, and ``overwrite`` may fill
  the output again.

Where ``OUTPUT`` is a mount point, or its parent is not writable, the hidden directories are inside it.
Without ``overwrite``, nothing that exists is written to, except an empty mount point and an empty working directory.
A link to an empty directory is followed. With ``overwrite``, any other link is replaced, and its target stays.
`fastbert.files.claims` tells the hidden directories of killed writers from those in use.
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

from fastbert.files import places
from fastbert.files.claims import claimed_in_turn, hidden_name, is_hidden, new_claimed_directory, remove_dead
from fastbert.files.disk import full_disk_named
from fastbert.runtime.errors import OutputExistsError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
# a mount point, a directory of an image, a parent with the sticky bit
_NO_RENAME = (errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES)


def require_writable(output: Path, *, overwrite: bool, kind: str) -> None:
    """Raise if `replace_directory` could not write ``output``. Call it before the work begins.

    :param kind: file that every directory of this kind has. ``overwrite`` replaces only such a directory or an empty
        one, never a checkpoint by a bundle or a user's own directory.
    :raises OutputExistsError: something exists that may not be replaced.
    :raises UsageError: nothing can be written there.
    """
    try:
        target = places.real_target(output)
        places.require_utf8(target)
        _require_replaceable(target, overwrite=overwrite, kind=kind)
        places.try_to_write(places.hidden_parent(target))
        if target.is_dir() and not target.is_symlink():
            places.try_to_write(target)
    except OSError as error:
        raise places.cannot_write(output, error) from error


@contextmanager
def replace_directory(output: Path, *, overwrite: bool, kind: str, ours: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty directory to write into; at the end it becomes ``output``. An error leaves everything as it was.

    :param kind: as in `require_writable`.
    :param ours: patterns of the names that such a directory may hold. Other files of an existing ``output`` stay.
    :raises OutputExistsError, UsageError: as in `require_writable`.
    """
    require_writable(output, overwrite=overwrite, kind=kind)
    output = places.real_target(output)
    parent, made = places.hidden_parent(output), []
    for directory in (parent, *parent.parents):
        if directory.is_dir():
            break
        made.append(directory)
    parent.mkdir(parents=True, exist_ok=True)
    remove_dead(parent, output.name, "partial")
    partial, claim = new_claimed_directory(parent, output.name)
    try:
        with full_disk_named(partial, output):
            yield partial
            _move_into_place(partial, output, overwrite=overwrite, kind=kind, ours=ours)
    finally:
        _remove(partial)
        claim.release()
        with suppress(OSError):
            for directory in made:
                directory.rmdir()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step. A file that cannot be renamed, such as a container's mount, is overwritten."""
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
    """Raise if `replace_file` could not write ``path``. Call it before the work begins.

    :raises UsageError: nothing can be written there.
    """
    try:
        target = places.real_target(path)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        places.try_to_write(target.parent)
        with suppress(FileNotFoundError):
            target.lstat()
    except OSError as error:
        raise places.cannot_write(path, error) from error


def _require_replaceable(output: Path, *, overwrite: bool, kind: str) -> None:
    with suppress(FileNotFoundError):  # nothing is there
        status = output.lstat()
        while problem := _why_not_replaceable(output, status, overwrite=overwrite, kind=kind):
            seen, status = status, output.lstat()
            if _identity(seen) == _identity(status):
                raise OutputExistsError(problem)
            # another writer replaced it in between: look at what is there now


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_ctime_ns)  # a new directory may have the number of a removed one


def _why_not_replaceable(output: Path, status: os.stat_result, *, overwrite: bool, kind: str) -> str:
    """Return why a path that exists, with this status, must not be replaced; "" if it may."""
    empty = stat.S_ISDIR(status.st_mode) and not places.contents(output)
    if empty and (overwrite or places.is_mount(output) or places.holds_cwd(output)):  # these two always exist
        return ""
    if not overwrite:
        return f"{output} already exists. Choose another `output`, or replace it with `overwrite`."
    if stat.S_ISLNK(status.st_mode) and not output.exists():
        return ""
    if not output.is_dir():
        return f"{output} is a file; `overwrite` replaces only a directory. Choose another `output`."
    if not (output / kind).is_file() and not _was_being_filled(output):
        return f"{output} has no {kind}, so `overwrite` would destroy something else. Choose another `output`."
    return ""


def _was_being_filled(output: Path) -> bool:
    """Whether a writer was killed while it filled a directory in place."""
    with suppress(OSError):
        return any(is_hidden(name, output.name, "replaced") for name in places.names(places.hidden_parent(output)))
    return False


def _move_into_place(partial: Path, output: Path, *, overwrite: bool, kind: str, ours: Sequence[str]) -> None:
    if not os.path.lexists(output):
        try:
            partial.rename(output)
            return
        except OSError:
            if not os.path.lexists(output):
                raise  # else another writer was faster
    if output.is_symlink() or not output.is_dir():
        _require_replaceable(output, overwrite=overwrite, kind=kind)
        _exchange_or_rename(partial, output)
        return
    with claimed_in_turn(output):
        _require_replaceable(output, overwrite=overwrite, kind=kind)
        held, written = places.contents(output), set(places.names(partial))
        replaced = {name for name in held if name in written or name == kind or _matches(name, ours)}
        in_place = held != replaced or places.is_mount(output) or partial.parent == output or places.holds_cwd(output)
        if in_place or not _exchange_or_rename(partial, output):
            _fill(partial, output, sorted(replaced, key=lambda name: name != kind), kind)
        remove_dead(partial.parent, output.name, "replaced")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _exchange_or_rename(partial: Path, output: Path) -> bool:
    """Move ``partial`` to ``output`` and remove the old one; return false where ``output`` cannot be renamed."""
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
    """Swap two directories atomically; return false where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    result: int = renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return result == 0


def _fill(partial: Path, output: Path, replaced: Sequence[str], kind: str) -> None:
    """Move the files that are replaced out of ``output``, then those of ``partial`` in. An error undoes every move."""
    aside = partial.with_name(hidden_name(output.name, "replaced"))
    aside.mkdir()
    moves = [(output / name, aside / name) for name in replaced]
    moves += [(partial / name, output / name) for name in sorted(places.names(partial), key=lambda name: name == kind)]
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
    """Rename; move a directory file by file where it cannot be renamed (in an image) or the target exists."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST) or not source.is_dir():
            raise
        target.mkdir(exist_ok=True)
        for name in places.names(source):
            _move(source / name, target / name)
        source.rmdir()


def _remove(path: Path) -> None:
    if path.is_symlink():  # it was at the output; its target is not ours
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
