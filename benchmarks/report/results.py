"""What a bench found. `BenchReport` as JSON is ``report.json``; its schema is ``report.schema.json`` in this folder.

Units are in the names: ``_ms``, ``_s``, ``_bytes``, ``_per_s``; speed-ups, shares and ratios have none. A figure that
could not be had is None, and a warning says why.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fastbert.benchmarks.baselines import Skipped
from fastbert.benchmarks.latency import LatencyStatistics, Quartiles

__all__ = [
    "SCHEMA",
    "BenchReport",
    "BenchWarning",
    "ExitLatency",
    "FamilyResult",
    "Footprint",
    "OfflineResult",
    "OfflineSystem",
    "ServerPoint",
    "ServerResult",
    "ServerSystem",
    "SingleStreamResult",
    "SystemResult",
    "Verdict",
]

SCHEMA = "fastbert-bench/2"


@dataclass(frozen=True)
class BenchWarning:
    """Why a figure should be taken with care.

    :param code: such as ``"unstable"``: one of `fastbert.benchmarks.report.warnings`.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Footprint:
    """One engine in a fresh process that did nothing else.

    :param load_s: from a running interpreter to a loaded engine, imports included; files were in the page cache.
    :param first_answer_ms: the first call after that.
    :param peak_memory_bytes: largest resident memory of the process after it ran its longest rows at full depth.
    """

    load_s: float
    first_answer_ms: float
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class ExitLatency:
    """Latency of the rows that left at one exit, over all speeds of a family.

    :param layer: 0-based layer of the exit; layers run = layer + 1.
    """

    layer: int
    latency: Quartiles


@dataclass(frozen=True)
class FamilyResult:
    """One engine: a variant of the bundle, or a baseline.

    :param kind: ``"chain"``, ``"whole"`` or ``"early-exit"``.
    :param settings: what the engine says that it runs with.
    :param reference: the baseline that its speed-ups below are against: the whole model in the same precision if it was
        measured; None: there is none.
    :param same_precision: whether ``reference`` has the family's precision.
    :param overhead_at_speed_0: time with all exits evaluated / time of ``reference``, minus 1: the median over rows.
    :param break_even_layers: mean layers run at which the family takes as long as ``reference``: from the least-squares
        line through (layers run, time / time of ``reference`` on that row) over rows and speeds. An exit layer, counted
        from 0, is one less.
    """

    name: str
    title: str
    kind: str
    precision: str
    settings: Mapping[str, Any]
    footprint: Footprint | None
    reference: str | None
    same_precision: bool | None
    overhead_at_speed_0: float | None
    break_even_layers: float | None
    exit_latency: tuple[ExitLatency, ...]


@dataclass(frozen=True)
class SystemResult:
    """One family at one speed, at batch 1.

    :param speed: None: it has no exits.
    :param latency: of the call from token ids to logits.
    :param latency_with_tokenization: of tokenizing and that call.
    :param accuracy: share of right labels among the timed rows; None: the file has no labels. ``macro_f1`` likewise.
    :param mean_layers: layers run, averaged over the timed rows.
    :param exit_histogram: 0-based layer -> rows that left there.
    :param exit_mean_ms: 0-based layer -> mean latency of the rows that left there.
    :param flops_speedup: FLOPs of the whole model / of this, on these rows; see `fastbert.flops`.
    :param layer_speedup: layers of the model / mean_layers.
    :param attainable_speedup: measured_speedup of a chain whose exits and calls cost nothing; below layer_speedup where
        long rows leave late.
    :param measured_speedup: mean latency of the family's reference / this one's.
    :param efficiency: measured_speedup / layer_speedup.
    :param times_faster: baseline -> its mean latency / this one's; ``times_faster_p50`` likewise of medians.
    """

    name: str
    family: str
    speed: float | None
    latency: LatencyStatistics
    latency_with_tokenization: LatencyStatistics
    accuracy: float | None
    macro_f1: float | None
    mean_layers: float
    exit_histogram: Mapping[str, int]
    exit_mean_ms: Mapping[str, float]
    flops_speedup: float | None
    layer_speedup: float
    attainable_speedup: float | None
    measured_speedup: float | None
    efficiency: float | None
    times_faster: Mapping[str, float]
    times_faster_p50: Mapping[str, float]


@dataclass(frozen=True)
class SingleStreamResult:
    """One request after the other.

    :param rows: that every system was timed on.
    :param passes: over those rows.
    :param window_spread: largest difference between the medians of the last two passes, over systems, as a share; None:
        there was no second pass.
    :param stopped: why it ended: ``"stable"``, ``"passes"``, ``"time"`` or ``"interrupted"``.
    """

    timed: str
    stop_rule: str
    threads: int
    rows: int
    passes: float
    window_spread: float | None
    stopped: str
    elapsed_s: float
    systems: tuple[SystemResult, ...]


@dataclass(frozen=True)
class OfflineSystem:
    """Throughput of one family at one speed.

    :param rows_per_s: tokenization included: the median over passes.
    :param rows_per_s_without_tokenization: rows / (time of a pass - time that tokenizing its batches takes).
    :param mean_layers: over the rows.
    :param times_faster: baseline -> rows_per_s / its rows_per_s.
    """

    name: str
    family: str
    speed: float | None
    rows_per_s: float
    rows_per_s_without_tokenization: float | None
    mean_layers: float
    times_faster: Mapping[str, float]


@dataclass(frozen=True)
class OfflineResult:
    """All rows at once. Fields as in `SingleStreamResult`."""

    timed: str
    stop_rule: str
    threads: int
    batch_size: int
    rows: int
    passes: int
    window_spread: float | None
    stopped: str
    elapsed_s: float
    systems: tuple[OfflineSystem, ...]


@dataclass(frozen=True)
class ServerPoint:
    """One system under one arrival rate.

    :param completed_per_s: requests answered, a second.
    :param latency: from a request's arrival to its answer: queue, tokenization and model. Where ``saturated`` it says
        how far the queue had grown, not what a user would wait.
    :param saturated: the queue outgrew its bound, or fewer requests were answered than arrived.
    :param busy: share of the time that workers worked.
    """

    rate_per_s: float
    requests: int
    completed: int
    completed_per_s: float
    saturated: bool
    busy: float
    latency: LatencyStatistics | None
    mean_queue_ms: float | None


@dataclass(frozen=True)
class ServerSystem:
    """One family at one speed, under every rate."""

    name: str
    family: str
    speed: float | None
    points: tuple[ServerPoint, ...]


@dataclass(frozen=True)
class ServerResult:
    """Poisson arrivals.

    :param workers: threads that share one loaded engine; each call uses one processor thread.
    :param seconds_per_point: arrivals are offered for this long.
    """

    timed: str
    stop_rule: str
    workers: int
    threads: int
    rates_per_s: tuple[float, ...]
    rates_from: str
    seconds_per_point: float
    stopped: str
    elapsed_s: float
    systems: tuple[ServerSystem, ...]


@dataclass(frozen=True)
class Verdict:
    """The bench in a sentence.

    :param system: the fastest chain whose accuracy is within ``allowed_loss`` of the reference's.
    """

    text: str
    system: str | None
    reference: str | None
    times_faster: float | None
    accuracy_change: float | None
    allowed_loss: float


@dataclass(frozen=True)
class BenchReport:
    """Everything. A scenario that was not asked for, or not reached, is None.

    :param status: ``"complete"`` or ``"incomplete"``.
    """

    status: str
    interrupted_by: str | None
    verdict: Verdict
    model: Mapping[str, Any]
    method: Mapping[str, Any]
    environment: Mapping[str, Any]
    families: tuple[FamilyResult, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[BenchWarning, ...]
    single_stream: SingleStreamResult | None
    offline: OfflineResult | None
    server: ServerResult | None

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {"schema": SCHEMA, **asdict(self)}
