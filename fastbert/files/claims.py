"""Directories that somebody is writing into, told from those that a killed writer left behind.

A writer holds an flock on its directory for as long as it lives; the kernel lets go of it when the process ends,
however it ends. Process ids tell nothing: in a container everything is process 1, and another container's ids are not
here. A lock is known to one kernel alone, so a name carries the kernel's boot id, and only directories of this boot are
judged. What another machine left on a shared volume, or this one before it restarted, is never removed, nor is anything
on a file system that has no locks: there nothing is provably dead.
"""

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Claim", "claimed", "hidden_name", "is_hidden", "new_claimed_directory", "remove_dead", "turn"]

_NAME_SHOWN = 40  # characters of the output's name in ours: four bytes each and the rest stay below 255


class Claim:
    """A lock on a directory, or on nothing where the file system has no locks."""

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        :raises BlockingIOError: another process holds it.
        :raises OSError: there is no such directory.
        """
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self.locked = False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.locked = True
        except BlockingIOError:
            self.release()
            raise
        except OSError:  # no locks here
            pass

    def is_of(self, directory: Path) -> bool:
        """Whether the path still leads to what is locked."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._descriptor), os.lstat(directory))
        return False

    def release(self) -> None:
        """Let go of the lock."""
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
def turn(directory: Path, *, patience_s: float = 10) -> Iterator[None]:
    """Hold a directory that others hold for moments, and may replace; who holds it longer is none of our writers."""
    ends = time.monotonic() + patience_s
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


def new_claimed_directory(place: Path, name: str) -> tuple[Path, Claim]:
    """Make a directory of our own in ``place`` for an output of that name."""
    while True:
        directory = place / hidden_name(name, "partial")
        try:
            directory.mkdir()
            claim = Claim(directory)
        except (FileExistsError, FileNotFoundError, BlockingIOError):
            if not place.is_dir():
                raise
            continue  # somebody removes dead ones, and had it before we did
        if claim.is_of(directory):
            return directory, claim
        claim.release()


def hidden_name(name: str, word: str) -> str:
    """Return a name that nobody else has: ``.NAME.WORD-BOOT-RANDOM``."""
    return f"{_prefix(name, word)}{_boot()}-{secrets.token_hex(4)}"


def is_hidden(entry: str, name: str, word: str) -> bool:
    """Whether a directory entry is called as `hidden_name` calls them, on any machine."""
    return entry.startswith(_prefix(name, word))


def remove_dead(place: Path, name: str, word: str) -> None:
    """Remove the directories of killed writers of an output; whatever is in doubt stays, and nothing is raised."""
    if not _boot():
        return
    with suppress(OSError):
        for entry in place.iterdir():
            if not entry.name.startswith(f"{_prefix(name, word)}{_boot()}-"):
                continue
            with suppress(OSError), claimed(entry) as claim:
                if claim.locked:
                    shutil.rmtree(entry, ignore_errors=True)


def _prefix(name: str, word: str) -> str:
    return f".{name[:_NAME_SHOWN]}.{word}-"


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:12]
    return ""
