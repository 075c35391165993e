"""What is filled meanwhile is in huge pages afterwards, and nothing else."""

import mmap
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastbert.runtime.engines import huge_pages
from fastbert.runtime.engines.huge_pages import in_huge_pages, wait_for_huge_pages

BLOCK = 2 << 20
_MADV_COLLAPSE = 25


@contextmanager
def small_pages(memory):
    """Fill memory in pages of 4 KB, also where the system is set to ``always``."""
    always = "[always]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    if always:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    yield
    if always:
        memory.madvise(mmap.MADV_HUGEPAGE)  # takes that back; pages that are there stay as they are


def filled(blocks, step=1):
    """Map memory of at least so many whole blocks and write to every so many-th page."""
    memory = mmap.mmap(-1, (blocks + 1) * BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with small_pages(memory):
        for start in range(0, len(memory), step * mmap.PAGESIZE):
            memory[start : start + 8] = start.to_bytes(8, "little")
    return memory


def is_as_filled(memory):
    return all(
        memory[start : start + 8] == start.to_bytes(8, "little") for start in range(0, len(memory), mmap.PAGESIZE)
    )


def status_bytes(name, file="/proc/self/smaps_rollup"):
    [line] = [line for line in Path(file).read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def huge_bytes():
    return status_bytes("AnonHugePages")


def why_not():
    if sys.platform != "linux":
        return "huge pages are moved into on Linux"
    if huge_pages._huge_page_bytes() != BLOCK:
        return "this system has no huge pages of 2 MB"
    try:
        filled(1).madvise(_MADV_COLLAPSE)
    except OSError as error:
        return f"this kernel does not move memory into huge pages: {error}"
    return None


needs_huge_pages = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@needs_huge_pages
def test_what_is_filled_meanwhile_is_moved_and_stays_what_it_was():
    before = huge_bytes()
    with in_huge_pages():
        memory = filled(4)
        assert huge_bytes() < before + BLOCK
    wait_for_huge_pages()
    assert huge_bytes() >= before + 4 * BLOCK
    assert is_as_filled(memory)


@needs_huge_pages
def test_what_was_there_before_and_what_is_half_empty_stay():
    old = filled(4)
    before, resident = huge_bytes(), status_bytes("Rss")
    with in_huge_pages():
        sparse = filled(8, step=2)
    wait_for_huge_pages()
    assert huge_bytes() < before + 4 * BLOCK  # the interpreter itself may fill a block meanwhile
    assert status_bytes("Rss") < resident + len(sparse) // 2 + 2 * BLOCK
    assert is_as_filled(old)


@needs_huge_pages
def test_a_system_set_to_never_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    (tmp_path / "hpage_pmd_size").write_text(f"{BLOCK}\n")
    monkeypatch.setattr(huge_pages, "_SETTINGS", tmp_path)
    before = huge_bytes()
    with in_huge_pages():
        memory = filled(4)
    wait_for_huge_pages()
    assert huge_bytes() < before + BLOCK
    assert is_as_filled(memory)


def test_without_such_settings_there_is_nothing_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(huge_pages, "_SETTINGS", tmp_path / "absent")
    monkeypatch.setattr(huge_pages, "_MAPS", tmp_path / "absent")  # would be an error if it were read
    with in_huge_pages():
        pass


def test_an_error_goes_its_way():
    with pytest.raises(KeyError, match="mine"), in_huge_pages():
        raise KeyError("mine")
