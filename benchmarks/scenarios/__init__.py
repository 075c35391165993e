"""What is timed: one row at a time, all rows at once, or rows as they arrive. One module per scenario."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fastbert.benchmarks.options import BenchOptions
from fastbert.benchmarks.rivals import Rival
from fastbert.benchmarks.systems import Runner, System, SystemAtSpeed
from fastbert.benchmarks.workload import Workload
from fastbert.runtime import Manifest
from fastbert.runtime.tokenization import Encoded, TextInput


@dataclass(frozen=True)
class Setup:
    """What a scenario times, and on which rows.

    :param systems: every loaded system, at each of its speeds.
    :param settings: name of a system -> what its engine reported about itself.
    :param encode: the bundle's tokenizer, which all systems share.
    :param threads: processor threads of every system.
    :param rivals: timed beside the systems in the scenario ``single-stream``.
    """

    options: BenchOptions
    manifest: Manifest
    workload: Workload
    systems: Sequence[SystemAtSpeed]
    settings: Mapping[str, Mapping[str, Any]]
    encode: Callable[[Sequence[TextInput]], Encoded]
    threads: int
    rivals: Sequence[Rival] = ()

    def loaded(self) -> list[System]:
        """Return the systems, each once."""
        return list({one.system.name: one.system for one in self.systems}.values())

    def whole_models(self) -> list[str]:
        """Return the names of the systems that always run all layers."""
        return [one.name for one in self.systems if one.system.kind == "whole"]


class Scenario(ABC):
    """A measurement. If it is interrupted, its result holds what was measured until then.

    :cvar one_thread_kinds: with several threads, systems of these kinds run as that many calls of one thread each.
    """

    one_thread_kinds: ClassVar[tuple[str, ...]] = ()

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._stopped = "interrupted"
        self._began = self._elapsed_s = 0.0

    def run(self, runners: Mapping[str, Runner]) -> None:
        """Warm up and measure.

        :param runners: name of a system -> its loaded engine. Not kept: the next scenario may load it anew.
        """
        calls = {one.name: self._call(one, runners[one.system.name]) for one in self.setup.systems}
        calls |= self._rivals()
        self._warm_up(calls)
        self._began = time.monotonic()
        try:
            self._stopped = self._measure(calls)
        finally:
            self._elapsed_s = self._seconds()

    @abstractmethod
    def result(self) -> Any:
        """Return the scenario's part of the report; None if nothing was measured."""

    def _seconds(self) -> float:
        """Return the time since the end of warm-up."""
        return time.monotonic() - self._began

    def _rivals(self) -> Mapping[str, Callable[[Any], Any]]:
        """Return the rivals that this scenario times, by name."""
        return {}

    @abstractmethod
    def _call(self, one: SystemAtSpeed, runner: Runner) -> Callable[[Any], Any]:
        """Return the function that is timed."""

    @abstractmethod
    def _warm_up(self, calls: Mapping[str, Callable[[Any], Any]]) -> None:
        """Run every system, untimed."""

    @abstractmethod
    def _measure(self, calls: Mapping[str, Callable[[Any], Any]]) -> str:
        """Measure until the stop rule ends it; return why it ended."""
