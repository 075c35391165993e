"""How many processors this process may use."""

import math
import os
from pathlib import Path

__all__ = ["usable_cores"]

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "<quota or max> <period>", in microseconds


def usable_cores() -> int:
    """Return the cores that this process may run on: its affinity mask, cut by its container's CPU quota.

    Not the cores of the machine: a thread pool larger than this makes every engine slower.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP_LIMIT.read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass
    return max(1, cores)
