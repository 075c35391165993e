"""The processor's load by this process and by others during a measurement."""

import os
import time
from dataclasses import dataclass

import psutil

from fastbert.runtime.hardware import usable_cores


@dataclass(frozen=True)
class MachineLoad:
    """The processor between two moments. Shares are in [0, 1].

    :param own_share: of the usable cores' time, used by this process and its finished children.
    :param other_share: of the usable cores' time, used by everything else on the machine.
    :param stolen_share: of the machine's time, stolen by its hypervisor.
    :param load_average: over the minute before the start; None: the system has none.
    :param clock_step_s: how far the wall clock moved against the monotonic clock, when it was set.
    """

    own_share: float
    other_share: float
    stolen_share: float
    load_average: float | None
    clock_step_s: float


class LoadMonitor:
    """Measures the load from its creation to `read`."""

    def __init__(self) -> None:
        self._load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._begin = self._now()

    def read(self) -> MachineLoad:
        """Return the load since this monitor was made."""
        (wall, monotonic, own, machine, steal), (wall_0, monotonic_0, own_0, machine_0, steal_0) = (
            self._now(),
            self._begin,
        )
        elapsed = max(monotonic - monotonic_0, 1e-9)
        cores = usable_cores() * elapsed
        mine = own - own_0
        return MachineLoad(
            own_share=mine / cores,
            other_share=max(0.0, (machine - machine_0) - mine) / cores,
            stolen_share=max(0.0, steal - steal_0) / (elapsed * (os.cpu_count() or 1)),
            load_average=self._load_average,
            clock_step_s=(wall - wall_0) - elapsed,
        )

    @staticmethod
    def _now() -> tuple[float, float, float, float, float]:
        """Return wall clock, monotonic clock, and processor seconds: own, the machine's busy, and stolen."""
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        machine = psutil.cpu_times()
        busy = machine.user + machine.system + getattr(machine, "nice", 0.0)
        return time.time(), time.monotonic(), own, busy, getattr(machine, "steal", 0.0)
