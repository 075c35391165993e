"""How many processors this process may use."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

__all__ = ["usable_cores"]

_ROOT = Path("/")  # tests put another tree here
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")  # how /proc/self/mountinfo spells white space and backslashes


class _Mount(NamedTuple):
    """A hierarchy of control groups in the file system: the group at its top, and the folder of that group."""

    group: PurePosixPath
    folder: Path


def usable_cores() -> int:
    """Return the cores that this process may run on: its affinity mask, cut by its container's CPU quota.

    Not the cores of the machine: a thread pool larger than this makes every engine slower.
    """
    return max(1, min([_affinity(), *_quotas()]))


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # no Linux, or a sandbox that does not allow it
        return os.cpu_count() or 1


def _quotas() -> Iterator[int]:
    """Yield the quota in cores, rounded up, of this process's control groups and of all groups around them."""
    unified, cpu = _mounts(_ROOT)
    paths = _group_paths()
    for folder in _folders(unified, paths.get("")):
        yield from _cores(_numbers(folder / "cpu.max"))
    for folder in _folders(cpu, paths.get("cpu")):
        yield from _cores([*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")])


def _cores(quota_and_period: Sequence[int]) -> Iterator[int]:
    """Yield microseconds of processor time a period, as cores; nothing where there is no quota."""
    if len(quota_and_period) == 2:
        quota, period = quota_and_period
        if quota >= 0 and period > 0:  # version 1 has -1 where there is none
            yield -(-quota // period)


@lru_cache(maxsize=1)
def _mounts(root: Path) -> tuple[list[_Mount], list[_Mount]]:
    """Return where control groups of version 2, and those of version 1 for processors, are mounted.

    Read once: some machines have thousands of mounts, and these stay where they are.
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
    if not unified and not cpu:  # none was seen: the usual places
        unified.append(_Mount(PurePosixPath("/"), root / "sys/fs/cgroup"))
        cpu.append(_Mount(PurePosixPath("/"), root / "sys/fs/cgroup/cpu"))
    return unified, cpu


def _group_paths() -> dict[str, str]:
    """Return this process's group in each hierarchy: controller -> path; "" for version 2."""
    found = {}
    for line in _lines(_ROOT / "proc/self/cgroup"):
        _, *fields = os.fsdecode(line).split(":", maxsplit=2)  # number:controllers:path
        if len(fields) == 2:
            found.update(dict.fromkeys(fields[0].split(","), fields[1]))
    return found


def _folders(mounts: Sequence[_Mount], path: str | None) -> Iterator[Path]:
    """Yield the folder of a group and those of the groups around it, up to the top of its mount.

    A container may see its group under another name than the kernel tells: then it is the top.
    """
    if not mounts:
        return
    folder = top = mounts[0].folder
    parts = PurePosixPath(path or "/")
    for mount in mounts:
        if parts.is_relative_to(mount.group) and ".." not in parts.parts:
            inside = mount.folder / parts.relative_to(mount.group)
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
    """Return the numbers in a file; none where it cannot be read or holds anything else."""
    try:
        return [int(number) for number in path.read_bytes().split()]
    except (OSError, ValueError):
        return []


def _byte(octal: re.Match[bytes]) -> bytes:
    return bytes([int(octal[1], 8)])
