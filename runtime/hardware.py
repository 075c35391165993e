"""What the processor can do, and how many cores this process may use."""

import os
import platform
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_CPUINFO = Path("/proc/cpuinfo")
_EXACT_INT8 = {"avx_vnni", "avx512_vnni", "amx_int8"}  # each accumulates int8 products in 32 bits
_ROOT = Path("/")  # replaced in tests
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")  # how /proc/self/mountinfo escapes white space and backslashes


def processor_info() -> dict[str, str]:
    """Return the first processor's block of /proc/cpuinfo; an empty dict where that file is missing."""
    try:
        with _CPUINFO.open() as lines:  # not the whole file, which is long on many cores: each load reads it
            pairs = [line.partition(":") for line in takewhile(str.strip, lines)]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in pairs}


def int8_products_saturate() -> bool:
    """Return whether sums of uint8 x int8 products may saturate in 16 bits, as on x86 processors without VNNI.

    An x86 processor whose features are unknown counts as one without VNNI.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return _EXACT_INT8.isdisjoint(processor_info().get("flags", "").split())


class _Mount(NamedTuple):
    """Where a cgroup hierarchy is mounted.

    :param group: the group at the top of the mount.
    :param folder: that group's folder in the file system.
    """

    group: PurePosixPath
    folder: Path


def usable_cores() -> int:
    """Return the cores that this process may use: its affinity mask, limited by its container's CPU quota.

    Not the cores of the machine: a thread pool larger than this makes every engine slower.
    """
    return max(1, min([_affinity(), *_quotas()]))


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux, or a sandbox that forbids the call
        return os.cpu_count() or 1


def _quotas() -> Iterator[int]:
    """Yield the CPU quotas, in cores and rounded up, of this process's cgroups and of all their parents."""
    unified, cpu = _mounts(_ROOT)
    paths = _group_paths()
    for folder in _folders(unified, paths.get("")):
        yield from _cores(_numbers(folder / "cpu.max"))
    for folder in _folders(cpu, paths.get("cpu")):
        yield from _cores([*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")])


def _cores(quota_and_period: Sequence[int]) -> Iterator[int]:
    """Yield a quota as cores: microseconds of processor time per period. Nothing without a quota."""
    if len(quota_and_period) == 2:
        quota, period = quota_and_period
        if quota >= 0 and period > 0:  # cgroup v1 writes -1 for no quota
            yield -(-quota // period)


@lru_cache(maxsize=1)
def _mounts(root: Path) -> tuple[list[_Mount], list[_Mount]]:
    """Return the mounts of cgroup v2, and those of v1's cpu controller.

    Cached: some machines have thousands of mounts, and these do not move.
    """
    unified: list[_Mount] = []
    cpu: list[_Mount] = []
    for line in _lines(root / "proc/self/mountinfo"):
        place, _, source = line.partition(b" - ")
        fields, (kind, _, options, *_) = place.split(b" "), [*source.split(b" "), b"", b"", b""]
        version1 = kind == b"cgroup" and b"cpu" in options.split(b",")
        if len(fields) >= 5 and (version1 or kind == b"cgroup2"):
            group, folder = (os.fsdecode(_OCTAL.sub(_byte, field)) for field in fields[3:5])
            (cpu if version1 else unified).append(_Mount(PurePosixPath(group), root / folder.lstrip("/")))
    if not unified and not cpu:  # the usual places
        unified.append(_Mount(PurePosixPath("/"), root / "sys/fs/cgroup"))
        cpu.append(_Mount(PurePosixPath("/"), root / "sys/fs/cgroup/cpu"))
    return unified, cpu


def _group_paths() -> dict[str, str]:
    """Return this process's group in each hierarchy: controller -> path; the key of v2 is ""."""
    paths = {}
    for line in _lines(_ROOT / "proc/self/cgroup"):
        _, *fields = os.fsdecode(line).split(":", maxsplit=2)  # number:controllers:path
        if len(fields) == 2:
            paths.update(dict.fromkeys(fields[0].split(","), fields[1]))
    return paths


def _folders(mounts: Sequence[_Mount], path: str | None) -> Iterator[Path]:
    """Yield the folder of a group and those of its parents, up to the top of its mount.

    A container may see its group under another name than the kernel reports. Then only the top is yielded.
    """
    if not mounts:
        return
    folder = top = mounts[0].folder
    group = PurePosixPath(path or "/")
    for mount in mounts:
        if group.is_relative_to(mount.group) and ".." not in group.parts:
            inside = mount.folder / group.relative_to(mount.group)
            if _is_folder(inside):
                folder, top = inside, mount.folder
                break
    while folder != top:
        yield folder
        folder = folder.parent
    yield top


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # Python 3.11 hides only some
        return False


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except (OSError, ValueError):
        return []


def _numbers(path: Path) -> list[int]:
    """Return the numbers in a file; an empty list where it cannot be read or holds anything else."""
    try:
        return [int(number) for number in path.read_bytes().split()]
    except (OSError, ValueError):
        return []


def _byte(octal: re.Match[bytes]) -> bytes:
    return bytes([int(octal[1], 8)])
