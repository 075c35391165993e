"""The report of a bench. As JSON it is ``report.json``; its schema is ``report.schema.json`` in this folder.

Units are in the names: ``_ms``, ``_s``, ``_bytes``, ``_per_s``; speed-ups, shares and ratios have none. A figure is
None if it could not be measured, and a warning says why. Each scenario's part is defined in its own module.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fastbert.benchmarks.latency import Quartiles
from fastbert.benchmarks.machine.footprint import Footprint
from fastbert.benchmarks.scenarios.offline import OfflineResult
from fastbert.benchmarks.scenarios.server import ServerResult
from fastbert.benchmarks.scenarios.single_stream import SingleStreamResult
from fastbert.benchmarks.systems import Skipped

SCHEMA = "fastbert-bench/2"


@dataclass(frozen=True)
class BenchWarning:
    """Why a figure needs care.

    :param code: a key of `fastbert.benchmarks.report.warnings.CHECKS`, such as ``"unstable"``.
    """

    code: str
    message: str


@dataclass(frozen=True)
class ExitLatency:
    """Latency of the rows that exited at one layer, over all speeds of a system.

    :param layer: 0-based layer of the exit; layers run = layer + 1.
    """

    layer: int
    latency: Quartiles


@dataclass(frozen=True)
class SystemResult:
    """One system over all its speeds: a variant of the bundle, or a baseline.

    :param kind: ``"chain"``, ``"whole"`` or ``"early-exit"``.
    :param settings: what its engine reported about itself in the first scenario.
    :param reference: the whole model that the speed-ups are against: in the same precision if that was measured; None:
        no whole model was measured.
    :param same_precision: whether ``reference`` has this system's precision.
    :param overhead_at_speed_0: time with all exits evaluated / time of ``reference``, minus 1: the median over rows.
        None if ``reference`` has another precision, as is ``break_even_layers``.
    :param break_even_layers: mean layers run at which the system takes as long as ``reference``: from the least-squares
        line through (layers run, time / time of ``reference`` on that row) over rows and speeds. This counts layers; an
        exit layer, counted from 0, is one less.
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
class Verdict:
    """The bench in a few sentences.

    :param system: the fastest chain whose accuracy is within ``allowed_loss`` of the accuracy reference's
        (`fastbert.benchmarks.scenarios.single_stream.SingleStreamResult.accuracy_reference`).
    :param reference: the fastest of all systems at full depth: a whole model, or a chain at speed 0.
    :param times_faster: mean latency of ``reference`` / of ``system``.
    :param accuracy_change: of ``system`` against the accuracy reference; its interval is the system's own.
    :param beaten_by: rivals that beat ``system``, or without one, the most accurate chain: more accurate and no slower
        (median time from text to answer), or as accurate and at least 5 % faster.
    """

    text: str
    system: str | None
    reference: str | None
    times_faster: float | None
    accuracy_change: float | None
    allowed_loss: float
    beaten_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchReport:
    """Everything that a bench measured. A scenario that was not requested, or not reached, is None.

    :param status: ``"complete"`` or ``"incomplete"``.
    :param interrupted_by: name of the signal that stopped the bench.
    """

    status: str
    interrupted_by: str | None
    verdict: Verdict
    model: Mapping[str, Any]
    method: Mapping[str, Any]
    environment: Mapping[str, Any]
    families: tuple[SystemResult, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[BenchWarning, ...]
    single_stream: SingleStreamResult | None
    offline: OfflineResult | None
    server: ServerResult | None

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {"schema": SCHEMA, **asdict(self)}
