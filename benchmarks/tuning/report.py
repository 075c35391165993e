"""What ``fastbert tune`` found."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastbert.benchmarks.statistics.binomial import wilson_interval
from fastbert.benchmarks.statistics.paired import score_interval
from fastbert.benchmarks.tuning.search import Guarantee
from fastbert.benchmarks.tuning.speeds import Rows
from fastbert.benchmarks.tuning.targets import Target
from fastbert.data.row_counts import count_rows


@dataclass(frozen=True)
class Measured:
    """One speed on the rows that measure.

    :param mean_layers: layers run, averaged over the rows; ``layer_speedup``: layers of the model / mean_layers.
    :param agreement: share of rows that get full depth's answer.
    :param accuracy: share of right answers; None: the rows have no labels.
    :param accuracy_interval: its 95 % interval (Wilson); None as well.
    :param drop_points: points of accuracy lost against full depth on the same rows; None as well.
    :param p50_ms: median latency of a single row on this machine; None: not timed.
    """

    speed: float
    mean_layers: float
    layer_speedup: float
    agreement: float
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    drop_points: float | None
    p50_ms: float | None = None


@dataclass(frozen=True)
class ReplacedPoint:
    """The operating point whose name another one took."""

    speed: float
    variant: str


@dataclass(frozen=True)
class OtherMeasure:
    """What the measure of uncertainty that the bundle does not have would do for the same target.

    :param command: that makes the same bundle with it.
    """

    name: str
    measured: Measured
    command: str


@dataclass(frozen=True)
class TuneReport:
    """What was found.

    :param target: option -> value, such as ``{"kind": "max_drop", "value": 0.5}``.
    :param words: the target in words.
    :param confidence: of the guarantee that was asked for; None: none was.
    :param reached: whether a speed reaches it; if not, ``chosen`` is the nearest that there is.
    :param rows: of ``data``; ``data_sha256`` is the file's.
    :param deciding_rows: those that chose the speed.
    :param measuring_rows: those that the figures are from; ``measured_apart``: whether they had no part in the choice.
    :param met_when_measured: whether the speed reaches the target on those rows too.
    :param chosen: the speed that was found; ``full_depth``: speed 0.
    :param guarantee: None: none was asked for, or no speed passed.
    :param other_measure: None: it would not save notably more.
    :param computed: whether the exits ran now; otherwise the results of an earlier call were used.
    :param kept_problem: why nothing is kept for the next call; None: it is.
    :param contradicted: whether rows that had no part in the choice miss a guaranteed target by more than chance would.
    :param written: the operating point written into the bundle; None: none. ``written_flags``: options of
        ``predict`` and others that use it. ``replaced``: the point that had its name before.
    :param warnings: what the user should know about the rows.
    """

    bundle: Path
    variant: str
    uncertainty: str
    data: Path
    data_sha256: str
    target: dict[str, Any]
    words: str
    confidence: float | None
    reached: bool
    rows: int
    deciding_rows: int
    measuring_rows: int
    measured_apart: bool
    met_when_measured: bool
    chosen: Measured
    full_depth: Measured
    guarantee: Guarantee | None
    other_measure: OtherMeasure | None
    computed: bool
    kept_problem: str | None
    contradicted: bool = False
    written: str | None = None
    written_flags: str = ""
    replaced: ReplacedPoint | None = None
    warnings: tuple[str, ...] = ()

    @property
    def shortfall(self) -> str:
        """Why the target is not reached, and what is nearest."""
        found, nearest = self.chosen, "full depth" if self.chosen.speed == 0 else f"speed {self.chosen.speed:g}"
        figures = f"{found.layer_speedup:.2f} times fewer layers, agreement {100 * found.agreement:.2f} %"
        figures += "" if found.accuracy is None else f", accuracy {100 * found.accuracy:.1f} %"
        figures += "" if found.p50_ms is None else f", {found.p50_ms:.2f} ms"
        figures += f", measured on {count_rows(self.measuring_rows, 'other ')}" if self.measured_apart else ""
        sure, more = ("is sure to", ", or tune on more rows") if self.confidence is not None else ("can", "")
        where = "" if found.p50_ms is not None else f" on {count_rows(self.deciding_rows)}"
        return (
            f"No speed of {self.variant} {sure} {self.words}{where}. The nearest is {nearest}: {figures}. Nothing was "
            f"written. Ask for less{more}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {**asdict(self), "bundle": str(self.bundle), "data": str(self.data)}


def measure(rows: Rows, speed: float, p50_ms: float | None = None) -> Measured:
    """Return the figures of a speed on some rows."""
    layers, labelled = rows.mean_layers(speed), rows.labels is not None
    accuracy = rows.accuracy(speed) if labelled else None
    return Measured(
        speed=speed,
        mean_layers=layers,
        layer_speedup=rows.layers / layers,
        agreement=rows.agreement(speed),
        accuracy=accuracy,
        accuracy_interval=None if accuracy is None else wilson_interval(accuracy, len(rows)),
        drop_points=100 * float(rows.losses(speed).mean()) if labelled else None,
        p50_ms=p50_ms,
    )


def contradicts(rows: Rows, speed: float, target: Target) -> bool:
    """Whether rows miss a bound of what may be lost by more than chance: it is outside their 95 % interval."""
    if target.kind.labels:
        losses = rows.losses(speed)
        _, best = score_interval(int((losses < 0).sum()), int((losses > 0).sum()), len(rows))
        return best < -target.most_loss
    return wilson_interval(rows.agreement(speed), len(rows))[1] < 1 - target.most_loss
