from types import SimpleNamespace

import pytest

from fastbert.benchmarks.machine import load
from fastbert.benchmarks.machine.load import LoadMonitor


def test_shares_are_those_between_two_moments(monkeypatch):
    """Four usable cores of eight for ten seconds: 40 core seconds."""
    clock = {"wall": 1000.0, "monotonic": 50.0}
    own = SimpleNamespace(user=1.0, system=1.0, children_user=0.0, children_system=0.0)
    machine = SimpleNamespace(user=100.0, nice=5.0, system=20.0, steal=3.0)
    monkeypatch.setattr(load, "usable_cores", lambda: 4)
    monkeypatch.setattr(load.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(load.os, "getloadavg", lambda: (1.5, 9.0, 9.0))
    monkeypatch.setattr(load.os, "times", lambda: own)
    monkeypatch.setattr(load.psutil, "cpu_times", lambda: machine)
    monkeypatch.setattr(load, "time", SimpleNamespace(time=lambda: clock["wall"], monotonic=lambda: clock["monotonic"]))
    monitor = LoadMonitor()
    clock.update(wall=1007.0, monotonic=60.0)  # the wall clock was set back by three seconds
    own.user, own.children_system = 7.0, 2.0  # 8 s of our own
    machine.user, machine.system, machine.steal = 110.0, 22.0, 7.0  # 12 s of the machine, 4 s stolen
    found = monitor.read()
    assert (found.own_share, found.other_share) == pytest.approx((8 / 40, 4 / 40))
    assert found.stolen_share == pytest.approx(4 / 80)
    assert (found.load_average, found.clock_step_s) == (1.5, pytest.approx(-3.0))


def test_the_real_monitor_sees_work_of_its_own():
    monitor = LoadMonitor()
    assert sum(index * index for index in range(1_000_000))
    assert monitor.read().own_share > 0
