"""The options of ``fastbert bench``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastbert.benchmarks.latency import PERCENTILES
from fastbert.runtime.errors import UsageError
from fastbert.runtime.exit_rule import ExitRule

SCENARIOS = ("single-stream", "offline", "server")


@dataclass(frozen=True)
class BenchOptions:
    """Options of one bench.

    :param data: rows to time; with labels, accuracy is reported too.
    :param speeds: for every chain and every baseline that exits early: numbers in [0, 1], or names of operating points
        of every variant.
    :param scenarios: names of `SCENARIOS`.
    :param variants: names in the bundle; None: those of the operating points in ``speeds``, or
        all that run on ``device``.
    :param baselines: names of `fastbert.benchmarks.baselines.BASELINES`, or ``"all"``.
    :param rivals: labelled rows; linear models are trained on them and timed in the scenario ``single-stream``.
    :param rival_bundles: other bundles with the same labels, timed there at full depth.
    :param checkpoint: the one that the bundle was exported from; the PyTorch baselines need it.
    :param cuda_graphs: replay the chain and the whole model as CUDA graphs. Needs a GPU and ``threads=1``; not
        for ``server``, whose threads are new ones.
    :param threads: processor threads of every system; None: the cores that this process may use.
    :param rates: arrivals of the server scenario, in rows/s; None: shares of the whole model's capacity.
    :param percentiles: to report; too few rows are then an error. None: all that the rows suffice for.
    :param max_rows: time at most this many rows, drawn at random.
    :param max_seconds: time for each scenario, after warm-up.
    :param batch_size: of the baselines in the offline scenario.
    :param seed: of the rows' order and of the arrivals.
    """

    bundle: Path
    data: Path
    speeds: Sequence[float | str]
    scenarios: Sequence[str] = ("single-stream",)
    variants: Sequence[str] | None = None
    baselines: Sequence[str] = ("onnxruntime",)
    rivals: Path | None = None
    rival_bundles: Sequence[Path] = ()
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
        """Check the options.

        :raises UsageError: one is not valid.
        """
        for scenario in self.scenarios:
            if scenario not in SCENARIOS:
                raise UsageError(f"`scenarios`: {scenario!r} is unknown; use {', '.join(SCENARIOS)}.")
        if not self.scenarios or not self.speeds:
            raise UsageError("`scenarios` and `speeds` need at least one value each.")
        for speed in self.speeds:
            if not isinstance(speed, str):  # a name is looked up in the bundle
                ExitRule(speed)
        if (self.rivals or self.rival_bundles) and "single-stream" not in self.scenarios:
            raise UsageError(
                "`rivals` and `rival_bundles` are timed in the scenario single-stream, which `scenarios` lacks: add it."
            )
        for rate in self.rates or ():
            if not (math.isfinite(rate) and rate > 0):
                raise UsageError(f"`rates` has {rate:g}; a rate is a finite number of rows/s above 0.")
        if self.cuda_graphs and self.device == "cpu":
            raise UsageError(
                "`cuda_graphs` needs a GPU, and `device` is 'cpu'; use 'cuda', 'tensorrt' or 'tensorrt-rtx'."
            )
        if self.cuda_graphs and (self.threads != 1 or "server" in self.scenarios):
            raise UsageError(
                "`cuda_graphs` needs `threads` 1 and the scenarios single-stream and offline, because every thread "
                "captures its own graphs."
            )
        for percentile in self.percentiles or ():
            if percentile not in PERCENTILES:
                raise UsageError(f"`percentiles` has {percentile:g}; use {', '.join(map(str, PERCENTILES))}.")
        for name in ("max_rows", "max_seconds", "batch_size"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"`{name}` is {getattr(self, name)}; it must be a finite number above 0.")
        if self.seed < 0:
            raise UsageError(f"`seed` is {self.seed}; it must be at least 0.")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"`threads` is {self.threads}; it must be at least 1.")
