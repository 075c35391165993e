"""Where an output and the work that leads to it may be written, and what is there already."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from fastbert.files.claims import hidden_name, is_hidden
from fastbert.runtime.errors import UsageError

_OF_THE_FILE_SYSTEM = ("lost+found",)  # an empty volume has it
_WORK = ".training"


def work_directory(output: Path) -> Path:
    """Return the work directory of ``output``: ``OUTPUT.training`` beside it.

    Where `hidden_parent` is the output itself, it is ``OUTPUT/.training``.

    :raises UsageError: there cannot be a directory of that name.
    """
    try:
        target = real_target(output)
        inside, beside = target / _WORK, target.parent / (target.name + _WORK)
        with suppress(FileNotFoundError):
            beside.lstat()
    except OSError as error:
        raise cannot_write(output, error) from error
    return inside if inside.is_dir() or hidden_parent(target) == target else beside


def real_target(output: Path) -> Path:
    """Return the absolute path to replace: a link to an empty directory is followed, any other link is replaced."""
    output = Path(os.path.abspath(output))  # noqa: PTH100 (resolve() would follow a link at `output`)
    return output.resolve() if output.is_symlink() and output.is_dir() and not contents(output) else output


def hidden_parent(output: Path) -> Path:
    """Return the directory for hidden directories: writable, and on the file system of ``output``.

    It is the output itself where that is a mount point, or where its parent is not writable.
    """
    if output.is_symlink() or not output.is_dir():
        return output.parent
    writable = os.access(output.parent, os.W_OK | os.X_OK)
    return output.parent if writable and not is_mount(output) else output


def contents(directory: Path) -> set[str]:
    """Return the names in a directory, except those that hidden writers and the file system put there."""
    return {
        name
        for name in names(directory)
        if name not in (*_OF_THE_FILE_SYSTEM, _WORK)
        and not any(is_hidden(name, directory.name, word) for word in ("partial", "replaced"))
    }


def names(directory: Path) -> list[str]:
    """Return the names in a directory."""
    return [path.name for path in directory.iterdir()]


def is_mount(directory: Path) -> bool:
    """Whether it is a mount point. Unlike os.path.ismount, this finds mounts of the same file system."""
    with suppress(OSError):
        mounts = Path("/proc/self/mountinfo").read_bytes().split(b"\n")
        points = [line.split(b" ")[4] for line in mounts if line]
        escaped = os.fsencode(os.path.realpath(directory))
        for character in (b"\\", b" ", b"\t", b"\n"):
            escaped = escaped.replace(character, b"\\%03o" % ord(character))
        if escaped in points:
            return True
    return os.path.ismount(directory)


def holds_cwd(output: Path) -> bool:
    """Whether the working directory is the output or inside it."""
    with suppress(OSError):
        return Path.cwd().is_relative_to(output.resolve())
    return False


def require_utf8(output: Path) -> None:
    """Refuse a path that tokenizers and safetensors, which are not written in Python, cannot take.

    :raises UsageError: it is not UTF-8.
    """
    try:
        str(output).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{output} cannot be written: the path is not UTF-8. Choose another `output`.") from error


def try_to_write(directory: Path) -> None:
    """Make and remove a directory in it, or in its nearest parent that exists.

    :raises OSError: that fails.
    """
    while not os.path.lexists(directory):
        directory = directory.parent
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    probe = directory / hidden_name(directory.name, "partial")
    try:
        probe.mkdir()
    except OSError as error:
        error.filename = str(directory)
        raise
    with suppress(FileNotFoundError):  # another writer may have removed it as a dead one
        probe.rmdir()


def cannot_write(output: Path, error: OSError) -> UsageError:
    """Return the error to raise when ``output`` cannot be written."""
    where = "" if error.filename in (None, str(output)) else f" ({error.filename})"
    return UsageError(f"{output} cannot be written: {error.strerror}{where}. Choose another `output`.")
