"""What all sessions of a process share."""

import errno
import mmap
import os
import sys
from pathlib import Path

import pytest

from fastbert.runtime.engines.cpu.process import release_mapped_pages

SIZE = 1 << 22


def resident_bytes(path: Path) -> int:
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_bytes().split(b"\n")[:-1]:
        head = line.split()[0]
        if b"-" in head:
            inside = line.endswith(os.fsencode(path))
        elif inside and head == b"Rss:":
            found += int(line.split()[1]) * 1024
    return found


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def map_file(path):
    content = bytes(range(256)) * (SIZE // 256)
    path.write_bytes(content)
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), SIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    assert pages[:] == content
    return path, pages


@pytest.fixture
def mapped(tmp_path):
    return map_file(tmp_path / "mine of two words")


def test_released_pages_are_read_again_on_the_next_access(mapped, tmp_path):
    path, pages = mapped
    other, _kept = map_file(tmp_path / os.fsdecode(b"other, not UTF-8: \xe9\x85"))
    assert resident_bytes(path) == resident_bytes(other) == SIZE
    release_mapped_pages([path])
    assert resident_bytes(path) == 0
    assert resident_bytes(other) == SIZE
    assert pages[:] == bytes(range(256)) * (SIZE // 256)


def test_memory_stays_where_no_file_matches_or_the_maps_cannot_be_read(mapped, tmp_path, monkeypatch):
    path, _ = mapped

    def none_left(_):
        raise OSError(errno.EMFILE, "Too many open files")

    release_mapped_pages([tmp_path / "absent"])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", none_left)
        release_mapped_pages([path])
    assert resident_bytes(path) == SIZE
