"""What ``fastbert bench`` is asked to do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastbert.benchmarks.latency import PERCENTILES
from fastbert.runtime.errors import UsageError
from fastbert.runtime.exit_rule import ExitRule

__all__ = ["SCENARIOS", "BenchOptions", "parse_names", "parse_numbers"]

SCENARIOS = ("single-stream", "offline", "server")


@dataclass(frozen=True)
class BenchOptions:
    """Options of one bench.

    :param data: rows to time on; with labels, accuracy is reported too.
    :param speeds: of every chain and of every baseline that exits early.
    :param scenarios: of `SCENARIOS`.
    :param variants: names in the bundle; None: every one that is for ``device``.
    :param baselines: names of `fastbert.benchmarks.baselines.BASELINES`.
    :param checkpoint: what the bundle was exported from; the PyTorch baselines need it.
    :param cuda_graphs: of the chain and of the whole model, on a GPU; with one thread, and not for ``server``.
    :param threads: processor threads for every system alike; None: the cores that this process may use.
    :param rates: arrivals of the server scenario, in rows/s; None: shares of what the whole model can hold.
    :param percentiles: None: those that the rows suffice for; if named, too few rows are an error.
    :param max_rows: time at most this many rows, drawn at random.
    :param max_seconds: for each scenario, after warm-up.
    :param batch_size: of the offline scenario.
    :param seed: of the rows' order and of the arrivals.
    """

    bundle: Path
    data: Path
    speeds: Sequence[float]
    scenarios: Sequence[str] = ("single-stream",)
    variants: Sequence[str] | None = None
    baselines: Sequence[str] = ("onnxruntime",)
    checkpoint: Path | None = None
    device: str = "cpu"
    cuda_graphs: bool = False
    threads: int | None = None
    rates: Sequence[float] | None = None
    percentiles: Sequence[float] | None = None
    max_rows: int = 1000
    max_seconds: float = 300.0
    batch_size: int = 32
    seed: int = 42

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        :raises UsageError: a scenario, speed, rate, percentile or bound is not valid.
        """
        for scenario in self.scenarios:
            if scenario not in SCENARIOS:
                raise UsageError(f"The scenario {scenario!r} is unknown; use {', '.join(SCENARIOS)}.")
        if not self.scenarios or not self.speeds:
            raise UsageError("Name at least one scenario and one speed.")
        for speed in self.speeds:
            ExitRule(speed)
        for rate in self.rates or ():
            if not (math.isfinite(rate) and rate > 0):
                raise UsageError(f"The rate {rate:g} cannot be offered; a rate is a number of rows/s above 0.")
        if self.cuda_graphs and self.device == "cpu":
            raise UsageError("CUDA graphs are for a GPU: use --device cuda or tensorrt.")
        if self.cuda_graphs and (self.threads != 1 or "server" in self.scenarios):
            raise UsageError(
                "A thread captures CUDA graphs of its own, and the threads of a scenario are new ones: use --threads 1 "
                "and the scenarios single-stream and offline."
            )
        for percentile in self.percentiles or ():
            if percentile not in PERCENTILES:
                raise UsageError(f"The percentile {percentile:g} is unknown; use {', '.join(map(str, PERCENTILES))}.")
        for name in ("max_rows", "max_seconds", "batch_size"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads is {self.threads}; it must be at least 1.")


def parse_names(text: str | None) -> list[str] | None:
    """Read a comma-separated list of names, each once, in order; None and the empty text give None."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    return list(dict.fromkeys(names)) or None


def parse_numbers(text: str | None, option: str) -> list[float] | None:
    """Read a comma-separated list of numbers; None and the empty text give None.

    :raises UsageError: an element is no number; the message names the option.
    """
    try:
        return [float(name) for name in parse_names(text) or []] or None
    except ValueError as error:
        raise UsageError(f"{option} is {text!r}; it must be numbers, comma-separated.") from error
