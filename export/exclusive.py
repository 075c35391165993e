"""One process at a time writes into a bundle."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastbert.runtime.errors import UsageError

_LOCK = ".build.lock"
_log = logging.getLogger(__name__)


@contextmanager
def exclusive_bundle(bundle: Path) -> Iterator[None]:
    """Wait until no other process writes into a bundle, then keep others waiting.

    :raises UsageError: the bundle cannot be written.
    """
    try:
        file = (bundle / _LOCK).open("w")
    except OSError as error:
        raise UsageError(
            f"{bundle} cannot be written: {error.strerror} ({_LOCK}). Engines and operating points become a part of "
            "the bundle, so make it writable, or work in a copy of it."
        ) from error
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("another command writes into %s; waiting for it", bundle)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
