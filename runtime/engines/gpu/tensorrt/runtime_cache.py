"""What TensorRT for RTX compiles just in time for a GPU, kept on disk, so that the next process need not compile it.

One file per set of engines, library version and GPU. The library checks a file itself before it takes it (version,
GPU, driver). Processes may share a folder: files are replaced in one step, and the last one to write wins.
"""

import hashlib
import logging
import os
import re
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastbert.runtime.errors import UsageError

MOST_BYTES = 1 << 30  # of all files of a folder; the least recently used go first
_SETTLE_S = 5.0  # compilation in the background goes on after the run that asked for it
_SUFFIX = ".cache"
_log = logging.getLogger("fastbert.tensorrt")


def default_folder() -> Path:
    """Return this user's folder of cache files.

    :raises RuntimeError: the user has no home directory.
    """
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fastbert" / "tensorrt-rtx"


def cache_path(where: str | Path | bool | None, *, engines: Iterable[str], version: str, gpu: str) -> Path | None:
    """Return the file of a set of engines in a folder that can be written; None: run without.

    :param where: a folder, which is made if it is missing; None or True: `default_folder`; False: no cache.
    :param engines: sha256 of the engines' files.
    :param gpu: its name and compute capability.
    :raises UsageError: the folder that was named cannot be written.
    """
    if where is False:
        return None
    named = where not in (None, True)
    folder: Path | str | None = None
    try:
        folder = Path(os.fspath(where)) if named else default_folder()  # type: ignore[arg-type]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        what = f"{folder or 'the default folder of the cache'} cannot be written: {reason}"
        if named:
            raise UsageError(
                f"`runtime_cache` is {str(where)!r}, but {what}. Name a folder that this user can write, or turn the "
                "cache off."
            ) from error
        _log.warning(
            "What TensorRT for RTX compiles for this GPU is not kept, so every process compiles it again: %s. Name a "
            "folder with `runtime_cache`, or turn the cache off.",
            what,
        )
        return None
    key = hashlib.sha256("\n".join((*engines, version, gpu)).encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", f"{version}-{gpu}").strip("-")
    return folder / f"{readable}-{key[:32]}{_SUFFIX}"


class RuntimeCache:
    """The library's cache of one set of engines, and its file. May be shared by threads.

    The file is written some seconds after something new ran, and when this object is collected or the process ends.

    :param path: of `cache_path`; the file may not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = _File(path)
        weakref.finalize(self, self._file.close)

    def attach(self, config: Any) -> None:
        """Let contexts of this ``IRuntimeConfig`` use the cache. A GPU must be in use already."""
        self._file.attach(config)

    def expect_more(self) -> None:
        """Note that a context ran something for the first time."""
        self._file.save_soon()


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._cache: Any = None
        self._written = b""  # sha256 of what the file holds
        self._waiting = False
        self._failed = False
        self._closed = False

    def attach(self, config: Any) -> None:
        with self._lock:
            if self._cache is None:
                self._cache = config.create_runtime_cache()
                self._read()
        if not config.set_runtime_cache(self._cache):
            _log.warning("TensorRT for RTX does not take its runtime cache: what it compiles is not kept.")

    def _read(self) -> None:
        try:
            content = self._path.read_bytes()
            os.utime(self._path)  # so that the least recently used are known
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("%s cannot be read and will be replaced: %s.", self._path, error.strerror)
            return
        if content and self._cache.deserialize(content):
            self._written = hashlib.sha256(content).digest()
        else:
            _log.warning(
                "%s is ignored and will be replaced: it is damaged, or was written with another driver.", self._path
            )

    def save_soon(self) -> None:
        with self._lock:
            if self._waiting or self._closed:
                return
            self._waiting = True
        # not a strong reference, which would keep the library's cache longer than what it belongs to
        timer = threading.Timer(_SETTLE_S, _save_later, (weakref.ref(self),))
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """Write the file a last time."""
        self.save()
        self._closed = True

    def save(self) -> None:
        """Write the file if the cache has changed. Never raises: a run does not depend on it."""
        with self._lock:
            self._waiting = False
            if self._cache is None or self._failed or self._closed:
                return
            try:
                content = bytes(self._cache.serialize() or b"")  # None: the library failed, and its log says why
                digest = hashlib.sha256(content).digest()
                if content and digest != self._written:
                    _replace(self._path, content)
                    self._written = digest
                    _prune(self._path)
            except OSError as error:
                self._failed = True  # one warning is enough
                _log.warning("%s cannot be written: %s.", self._path, error.strerror or error)


def _save_later(reference: "weakref.ref[_File]") -> None:
    file = reference()
    if file is not None:
        file.save()


def _replace(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".partial", delete=False) as file:
        partial = Path(file.name)
        try:
            file.write(content)
            file.close()
            partial.replace(path)
        except BaseException:
            file.close()
            partial.unlink(missing_ok=True)
            raise


def _prune(newest: Path) -> None:
    """Remove the least recently used files beyond `MOST_BYTES`, but never the one just written."""
    found = []
    for path in newest.parent.glob(f"*{_SUFFIX}"):
        try:
            status = path.stat()
        except FileNotFoundError:  # another process removed it
            continue
        found.append((path != newest, -status.st_mtime_ns, status.st_size, path))
    total = 0
    for removable, _, size, path in sorted(found):
        total += size
        if removable and total > MOST_BYTES:
            path.unlink(missing_ok=True)
