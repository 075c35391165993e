"""What all sessions of a process share: the memory arena, the C library's heap, and mapped files."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MADV_DONTNEED = 4
_lock = threading.Lock()
_arena_shared = False


def share_arena(ort: Any) -> None:
    """Give the process one memory arena, for the sessions whose options ask for it.

    With one arena per session, every stage would work in memory that is not in the CPU's caches
    (docs/performance.md#memory).
    """
    global _arena_shared
    with _lock:
        if not _arena_shared:
            info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
            try:
                ort.create_and_register_allocator(info, None)
            except Exception as error:
                if "already" not in str(error):  # the host program registered one, which serves as well
                    raise
            _arena_shared = True


def return_freed_memory() -> None:
    """Make glibc return to the system the memory that loading used and freed; otherwise it keeps it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def release_mapped_pages(files: Iterable[Path]) -> None:
    """Drop the resident pages of read-only memory-mapped files. They are read from disk again on the next access.

    ONNX Runtime 1.32 repacks the weights of a model's branches and keeps the mapping that it read them from
    (not reported upstream).
    """
    maps = Path("/proc/self/maps")
    if sys.platform != "linux" or not maps.exists():
        return
    try:
        lines = maps.read_bytes().split(b"\n")[:-1]  # bytes, as a path may not be UTF-8
    except OSError:  # only memory is lost
        return
    names = {os.fsencode(file.resolve()) for file in files}
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in lines:
        place, _, *rest = line.split(maxsplit=5)
        if rest[-1] in names:
            start, end = (int(address, 16) for address in place.split(b"-"))
            madvise(start, end - start, _MADV_DONTNEED)
