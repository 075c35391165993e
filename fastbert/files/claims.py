"""Tells directories that a process is writing into from those that a killed one left behind.

A writer holds an flock on its directory; the kernel releases it when the process ends, however it ends. Process ids
would not do: in a container everything is process 1, and the ids of other containers are not visible. A lock is known
to one kernel only, so a name carries the kernel's boot id, and only directories of this boot are judged. Directories
that another machine left on a shared volume, or this one before it restarted, are never removed, nor is anything on a
file system without locks: there nothing is provably dead.
"""

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME_SHOWN = 40  # characters of the output's name in a hidden one: 4 bytes each, so that all fits in 255


class Claim:
    """A lock on a directory; no lock where the file system has none."""

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        :raises BlockingIOError: another process holds it.
        :raises OSError: the directory is missing.
        """
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self.locked = False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.locked = True
        except BlockingIOError:
            self.release()
            raise
        except OSError:  # the file system has no locks
            pass

    def is_of(self, directory: Path) -> bool:
        """Whether the path still leads to the locked directory."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._descriptor), os.lstat(directory))
        return False

    def release(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)


@contextmanager
def claimed(directory: Path) -> Iterator[Claim]:
    """Hold a directory; errors as in `Claim`."""
    claim = Claim(directory)
    try:
        yield claim
    finally:
        claim.release()


@contextmanager
def claimed_in_turn(directory: Path, *, timeout_s: float = 10) -> Iterator[None]:
    """Hold a directory that other writers hold only briefly and may replace. After the timeout, proceed without a lock.

    None of our writers holds an output that long, so whoever does is another program.
    """
    ends = time.monotonic() + timeout_s
    claim = None
    while claim is None and time.monotonic() < ends:
        try:
            claim = Claim(directory)
            if not claim.is_of(directory):
                claim.release()
                claim = None
        except BlockingIOError:
            time.sleep(0.02)
    try:
        yield
    finally:
        if claim is not None:
            claim.release()


def new_claimed_directory(parent: Path, name: str) -> tuple[Path, Claim]:
    """Make and hold a new hidden directory in ``parent`` for an output called ``name``."""
    while True:
        directory = parent / hidden_name(name, "partial")
        try:
            directory.mkdir()
            claim = Claim(directory)
        except (FileExistsError, FileNotFoundError, BlockingIOError):
            if not parent.is_dir():
                raise
            continue  # another writer took it for a dead one before it was locked
        if claim.is_of(directory):
            return directory, claim
        claim.release()


def hidden_name(name: str, word: str) -> str:
    """Return a new unique name: ``.NAME.WORD-BOOT-RANDOM``."""
    return f"{_prefix(name, word)}{_boot_id()}-{secrets.token_hex(4)}"


def is_hidden(entry: str, name: str, word: str) -> bool:
    """Whether a directory entry is named as `hidden_name` names them, on any machine."""
    return entry.startswith(_prefix(name, word))


def remove_dead(parent: Path, name: str, word: str) -> None:
    """Remove the directories that killed writers of an output left. Doubtful ones stay, and nothing is raised."""
    if not _boot_id():
        return
    with suppress(OSError):
        for entry in parent.iterdir():
            if not entry.name.startswith(f"{_prefix(name, word)}{_boot_id()}-"):
                continue
            with suppress(OSError), claimed(entry) as claim:
                if claim.locked:
                    shutil.rmtree(entry, ignore_errors=True)


def _prefix(name: str, word: str) -> str:
    return f".{name[:_NAME_SHOWN]}.{word}-"


def _boot_id() -> str:
    """Return 12 characters of the kernel's boot id; empty where there is none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:12]
    return ""
