"""Memory of files that are mapped."""

import errno
import mmap
import os
import sys
from pathlib import Path

import pytest

from fastbert.runtime.engines.cpu.mapped_files import let_go_of

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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_are_given_back_and_read_again(tmp_path):
    mine, other = tmp_path / "mine of two words", tmp_path / os.fsdecode(b"other, no UTF-8: \xe9\x85")
    content = bytes(range(256)) * (SIZE // 256)
    maps = []
    for path in (mine, other):
        path.write_bytes(content)
        with path.open("rb") as file:
            maps.append(mmap.mmap(file.fileno(), SIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
        assert maps[-1][:] == content
    assert resident_bytes(mine) == resident_bytes(other) == SIZE
    let_go_of([mine])
    assert resident_bytes(mine) == 0
    assert resident_bytes(other) == SIZE
    assert maps[0][:] == content


def test_files_that_are_not_mapped_are_nothing_to_do(tmp_path):
    let_go_of([tmp_path / "absent"])


def test_a_process_without_a_file_descriptor_left_keeps_its_memory(tmp_path, monkeypatch):
    def none_left(_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_bytes", none_left)
    let_go_of([tmp_path])
