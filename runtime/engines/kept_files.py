"""Files that are read later, held open so that they are still the files that were checked."""

import os
import weakref
from collections.abc import Iterable
from pathlib import Path

from fastbert.runtime.errors import BundleError


class KeptFiles:
    """Holds files open, whatever happens to their paths: a repointed link, a replaced or removed directory.

    :raises BundleError: a file cannot be opened.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._open: dict[Path, int] = {}
        self._close = weakref.finalize(self, _close_all, self._open)
        try:
            for path in paths:
                self._open[path] = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            self.close()
            raise BundleError(f"{error.filename} could not be opened: {error.strerror}.") from error
        self._versions = {path: _version(descriptor) for path, descriptor in self._open.items()}

    def are_in_place(self) -> bool:
        """Return whether every path still leads to its file."""
        try:
            return all(os.path.samestat(path.stat(), os.fstat(file)) for path, file in self._open.items())
        except OSError:
            return False

    def check_unchanged(self) -> None:
        """Check that no file was written to since it was opened.

        :raises BundleError: a file was.
        """
        for path, descriptor in self._open.items():
            if _version(descriptor) != self._versions[path]:
                raise BundleError(
                    f"{path} was written to since this classifier was loaded, which would mix two versions. Load the "
                    "bundle again. To replace a bundle, write the new one beside it and rename it, as fastbert export "
                    "does."
                )

    def read(self, path: Path) -> bytes:
        """Return a file's contents, wherever its path leads now."""
        descriptor = self._open[path]
        size, parts, at = os.fstat(descriptor).st_size, [], 0
        while at < size:
            parts.append(os.pread(descriptor, size - at, at))  # has no file position, which threads and forks share
            at += len(parts[-1]) or size
        return b"".join(parts)

    def close(self) -> None:
        """Close the files."""
        self._close()


def _version(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _close_all(files: dict[Path, int]) -> None:
    while files:
        os.close(files.popitem()[1])
