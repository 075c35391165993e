"""Memory in huge pages."""

import ctypes
import mmap
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["in_huge_pages", "wait_for_huge_pages"]

_THREAD = "fastbert-huge-pages"
_MAPS = Path("/proc/self/maps")
_SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")
_MADV_COLLAPSE = 25  # Linux 6.1, madvise(2)


@contextmanager
def in_huge_pages() -> Iterator[None]:
    """Move what this process fills meanwhile into huge pages; on Linux 6.1 or later, unless the system says ``never``.

    A single row reads all weights of its layers once. In pages of 4 KB the processor looks up hundreds of addresses a
    layer, fetches ahead to the end of a page only, and finds some of its cache crowded, other parts idle, as the pages
    happen to lie. Elsewhere than on a system set to ``always`` a process has no others. Only blocks that are in memory
    from end to end are moved, so that the process takes no more of it than before.

    A thread does it afterwards and ends: 0.1 to 0.5 s at 12 x 768, in which rows are answered already.
    """
    size = _huge_page_bytes()
    if size is None:
        yield
        return
    before = _full_blocks(size)
    yield
    threading.Thread(target=_move, args=(size, before), name=_THREAD, daemon=True).start()


def wait_for_huge_pages() -> None:
    """Wait for the threads that `in_huge_pages` started, before a measurement."""
    for thread in threading.enumerate():
        if thread.name == _THREAD:
            thread.join()


def _move(size: int, before: NDArray[np.int64]) -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # this thread's: rows come first
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start in np.setdiff1d(_full_blocks(size), before, assume_unique=True).tolist():
        madvise(start, size, _MADV_COLLAPSE)  # best effort: what cannot be moved, or is gone, stays as it is


def _huge_page_bytes() -> int | None:
    """Return the size of a huge page, or None where there are none to be had."""
    try:
        if sys.platform != "linux" or "[never]" in (_SETTINGS / "enabled").read_text():
            return None
        return int((_SETTINGS / "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return None


def _full_blocks(size: int) -> NDArray[np.int64]:
    """Return the addresses of this process's own blocks of ``size`` bytes all of whose pages are in memory."""
    mincore = ctypes.CDLL(None).mincore
    mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    found = [np.zeros(0, np.int64)]
    for start, end in _anonymous():
        first = -(-start // size) * size
        count = (end - first) // size
        if count > 0:
            pages = np.zeros((count, size // mmap.PAGESIZE), np.uint8)
            if mincore(first, count * size, pages.ctypes.data) == 0:
                found.append(first + size * np.flatnonzero((pages & 1).all(axis=1)))
    return np.concatenate(found)


def _anonymous() -> Iterator[tuple[int, int]]:
    """Yield start and end of each range of memory that is no file's and no stack."""
    for line in _MAPS.read_text().splitlines():
        place, permissions, _, _, inode, *name = line.split(maxsplit=5)
        if permissions == "rw-p" and inode == "0" and (not name or name[0] == "[heap]"):
            start, end = place.split("-")
            yield int(start, 16), int(end, 16)
