"""The scenario ``single-stream``: one request after another, at batch 1, on real rows."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from fastbert.benchmarks.classes import ClassDepth, class_depths
from fastbert.benchmarks.latency import LatencyStatistics, summarize
from fastbert.benchmarks.rivals import Rival
from fastbert.benchmarks.scenarios import Scenario, Setup
from fastbert.benchmarks.speedups import attainable_speedup
from fastbert.benchmarks.statistics.paired import PairedDifference, paired_difference
from fastbert.benchmarks.systems import Runner, SystemAtSpeed, reference_for
from fastbert.benchmarks.timing import BLOCK, Turn, alternate, warm_up
from fastbert.flops import flops_by_exit, full_model_flops

_log = logging.getLogger(__name__)
_WARM_UP = 10
_MIN_PASSES, _MAX_PASSES, _MIN_CALLS = 2, 20, 200
SPREAD = 0.05
_TIMED = (
    "One call at batch 1, in Python. Latency is from token ids to logits; with tokenization, it is from a text to "
    "logits, with the bundle's tokenizer for every system. Neither includes loading."
)
_STOP_RULE = (
    f"Warm-up: {_WARM_UP} calls per system, and one before each turn of {BLOCK} rows. Then passes over the rows, "
    f"systems taking turns, until there are at least {_MIN_PASSES} passes and {_MIN_CALLS} calls per system and every "
    f"system's median differs by at most {100 * SPREAD:.0f} % between the last two passes; at most {_MAX_PASSES} "
    "passes, and at most the time allowed."
)


@dataclass(frozen=True)
class SingleStreamSpeed:
    """One system at one speed, at batch 1.

    :param family: name of the system.
    :param speed: None: it has no exits.
    :param latency: of the call from token ids to logits.
    :param latency_with_tokenization: of tokenization and that call.
    :param accuracy: share of correct labels among the timed rows; None: the file has no labels. ``macro_f1`` as well.
    :param mean_layers: layers run, averaged over the timed rows.
    :param exit_histogram: 0-based layer -> rows that exited there.
    :param exit_mean_ms: 0-based layer -> mean latency of the rows that exited there.
    :param flops_speedup: FLOPs of the whole model / of this, on these rows; see `fastbert.flops`.
    :param layer_speedup: layers of the model / mean_layers.
    :param attainable_speedup: measured_speedup of a chain whose exits and calls cost nothing; below layer_speedup if
        long rows exit late.
    :param measured_speedup: mean latency of the reference of its system / of this.
    :param efficiency: measured_speedup / layer_speedup; None if the reference has another precision, as then it would
        count what the precision saves.
    :param accuracy_change: accuracy against `SingleStreamResult.accuracy_reference`, on the same rows; None: no labels.
    :param classes: the rows by class, the deepest first; empty without labels, and for a system without exits.
    :param times_faster: whole model -> its mean latency / of this; ``times_faster_p50``: the same for medians.
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
    attainable_speedup: float | None = field(default=None, kw_only=True)  # the first reports lack it
    measured_speedup: float | None
    efficiency: float | None
    accuracy_change: PairedDifference | None = field(default=None, kw_only=True)
    classes: tuple[ClassDepth, ...] = field(default=(), kw_only=True)
    times_faster: Mapping[str, float]
    times_faster_p50: Mapping[str, float]


@dataclass(frozen=True)
class RivalResult:
    """A cheaper model, at batch 1 on the same rows. Fields as in `SingleStreamSpeed`.

    :param latency: of a linear model as of a text, since finding its features is its work.
    :param settings: how it was trained and what it runs on.
    :param accuracy_against: system that exits early -> accuracy against it, on the same rows; empty without labels.
    """

    name: str
    title: str
    latency: LatencyStatistics
    latency_with_tokenization: LatencyStatistics
    accuracy: float | None
    macro_f1: float | None
    accuracy_change: PairedDifference | None
    settings: Mapping[str, Any]
    accuracy_against: Mapping[str, PairedDifference] = field(default_factory=dict)


@dataclass(frozen=True)
class SingleStreamResult:
    """One request after another.

    :param rows: rows that every system was timed on.
    :param passes: passes over those rows; the last one may be partial.
    :param window_spread: largest difference between the medians of the last two whole passes, over systems, as a
        share; None: there was only one pass.
    :param stopped: why it ended: ``"stable"``, ``"passes"``, ``"time"`` or ``"interrupted"``.
    :param settings: name of a system -> what its engine reported about itself.
    :param accuracy_reference: the system at full depth that accuracies are compared with; None: there is none.
    """

    timed: str
    stop_rule: str
    threads: int
    rows: int
    passes: float
    window_spread: float | None
    stopped: str
    elapsed_s: float
    systems: tuple[SingleStreamSpeed, ...]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    accuracy_reference: str | None = None
    rivals: tuple[RivalResult, ...] = ()


class SingleStream(Scenario):
    """Times every system on every row; systems take turns. Keeps whole turns only, so every system has the same rows.

    :ivar total_ms: name -> one list per pass, of milliseconds with tokenization; ``model_ms``: without.
    :ivar labels: name -> class index of each row, from the first pass; ``layers``: layers run.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.total_ms: dict[str, list[list[float]]] = {}
        self.model_ms: dict[str, list[list[float]]] = {}
        self.labels: dict[str, list[int]] = {}
        self.layers: dict[str, list[int]] = {}

    @property
    def rows(self) -> int:
        """Rows that every system was timed on."""
        return len(next(iter(self.labels.values()), []))

    @property
    def passes(self) -> float:
        """Passes over those rows; the last one may be partial."""
        timed = next(iter(self.model_ms.values()), [])
        return sum(map(len, timed)) / self.rows if self.rows else 0.0

    def result(self) -> SingleStreamResult | None:
        """Return what was measured; None: not even one turn."""
        if not self.rows:
            return None
        return SingleStreamResult(
            timed=_TIMED,
            stop_rule=_STOP_RULE,
            threads=self.setup.threads,
            rows=self.rows,
            passes=self.passes,
            window_spread=self._window_spread(),
            stopped=self._stopped,
            elapsed_s=self._elapsed_s,
            systems=self._systems(),
            settings=self.setup.settings,
            accuracy_reference=self._accuracy_reference(),
            rivals=tuple(map(self._rival_result, self.setup.rivals)),
        )

    def row_ms(self, name: str) -> NDArray[np.float64]:
        """Return each row's median over whole passes, without tokenization: float64 [rows]."""
        medians: NDArray[np.float64] = np.median(self._whole_passes(name), axis=0)
        return medians

    def noise(self) -> float | None:
        """Return the coefficient of variation of calls on the same row, over rows and systems; None: no second pass."""
        noises = [np.median(one.std(axis=0, ddof=1) / one.mean(axis=0)) for one in self._repeated()]
        return float(np.median(noises)) if noises else None

    def drift(self) -> float | None:
        """Return a system's largest change from the first to the last whole pass, as a share; None: no second pass."""
        return max((float(np.median(one[-1] / one[0]) - 1) for one in self._repeated()), key=abs, default=None)

    def _window_spread(self) -> float | None:
        return max((abs(float(np.median(one[-1]) / np.median(one[-2])) - 1) for one in self._repeated()), default=None)

    def _repeated(self) -> list[NDArray[np.float64]]:
        """Return the milliseconds of whole passes, float64 [passes, rows], per system; empty without a second pass."""
        passes = [self._whole_passes(name) for name in self.model_ms]
        return passes if passes and len(passes[0]) > 1 else []

    def _whole_passes(self, name: str) -> NDArray[np.float64]:
        return np.array([one for one in self.model_ms[name] if len(one) == self.rows])

    def _call(self, one: SystemAtSpeed, runner: Runner) -> Callable[[int], tuple[int, int, float]]:
        """Return a function: row -> class index, layers run, milliseconds of tokenization."""
        texts, encode = self.setup.workload.texts, self.setup.encode

        def run(row: int) -> tuple[int, int, float]:
            began = time.perf_counter_ns()
            batch = encode([texts[row]])
            tokenization_ms = (time.perf_counter_ns() - began) / 1e6
            logits, layers = runner.run(batch.input_ids, batch.attention_mask, batch.token_type_ids, one.speed)
            return int(logits[0].argmax()), int(layers[0]), tokenization_ms

        return run

    def _rivals(self) -> Mapping[str, Callable[[int], tuple[int, int, float]]]:
        """Return functions as `_call` does; a rival counts as no layers of this model."""
        texts = self.setup.workload.texts

        def timed(rival: Rival) -> Callable[[int], tuple[int, int, float]]:
            def run(row: int) -> tuple[int, int, float]:
                label, tokenization_ms = rival.answer(texts[row])
                return label, 0, tokenization_ms

            return run

        return {rival.name: timed(rival) for rival in self.setup.rivals}

    def _warm_up(self, calls: Mapping[str, Callable[[int], Any]]) -> None:
        warm_up(calls, range(min(_WARM_UP, len(self.setup.workload))))

    def _measure(self, calls: Mapping[str, Callable[[int], Any]]) -> str:
        rows = len(self.setup.workload)
        for number in range(_MAX_PASSES):
            for turn in alternate(calls, range(rows), rest=self.setup.threads > 1):
                self._add(turn, number)
                if self._seconds() > self.setup.options.max_seconds:
                    return "time"
            spread = self._window_spread()
            _log.info(
                "single-stream: pass %d, %d rows, %.0f s%s", number + 1, self.rows, self._seconds(),
                "" if spread is None else f", medians within {100 * spread:.1f} %",
            )  # fmt: skip
            enough = number + 1 >= _MIN_PASSES and (number + 1) * rows >= _MIN_CALLS
            if enough and spread is not None and spread <= SPREAD:
                return "stable"
        return "passes"

    def _add(self, turn: Turn, number: int) -> None:
        """Keep a turn of pass ``number``."""
        for name, results in turn.results.items():
            labels, layers, tokenization_ms = (list(values) for values in zip(*results, strict=True))
            for kept in (self.total_ms, self.model_ms):
                while len(kept.setdefault(name, [])) <= number:
                    kept[name].append([])
            times = turn.times_ms[name]
            self.total_ms[name][number] += times
            self.model_ms[name][number] += [a - b for a, b in zip(times, tokenization_ms, strict=True)]
            if number == 0:
                self.labels.setdefault(name, []).extend(labels)
                self.layers.setdefault(name, []).extend(layers)

    def _rival_result(self, rival: Rival) -> RivalResult:
        return RivalResult(
            name=rival.name,
            title=rival.title,
            latency=summarize(np.concatenate(self.model_ms[rival.name]), rows=self.rows),
            latency_with_tokenization=summarize(np.concatenate(self.total_ms[rival.name]), rows=self.rows),
            settings=rival.settings,
            accuracy_against=self._against(rival.name),
            **self._judged(rival.name),
        )

    def _against(self, rival: str) -> dict[str, PairedDifference]:
        known = self.setup.workload.labels
        if known is None:
            return {}
        labels = known[: self.rows]
        right = np.array(self.labels[rival]) == labels
        early = [one.name for one in self.setup.systems if one.system.kind != "whole"]
        return {name: paired_difference(right, np.array(self.labels[name]) == labels) for name in early}

    def _judged(self, name: str) -> dict[str, Any]:
        """Return how right the answers of a system or rival are: three fields of its result."""
        known = self.setup.workload.labels
        if known is None:
            return {"accuracy": None, "macro_f1": None, "accuracy_change": None}
        labels, predicted, compared = known[: self.rows], np.array(self.labels[name]), self._accuracy_reference()
        change = None
        if compared is not None:
            change = paired_difference(predicted == labels, np.array(self.labels[compared]) == labels)
        return {
            "accuracy": float(accuracy_score(labels, predicted)),
            "macro_f1": float(f1_score(labels, predicted, average="macro", labels=sorted(set(labels.tolist())))),
            "accuracy_change": change,
        }

    def _accuracy_reference(self) -> str | None:
        """Return the first system at full depth in float32, whole models first; without float32, the first of all."""
        full = [one for one in self.setup.systems if one.system.kind == "whole"]
        full += [one for one in self.setup.systems if one.system.kind == "chain" and one.speed == 0.0]
        exact = [one for one in full if one.system.precision == "float32"]
        return next((one.name for one in (*exact, *full)), None)

    def _systems(self) -> tuple[SingleStreamSpeed, ...]:
        workload, manifest = self.setup.workload, self.setup.manifest
        lengths = workload.lengths[: self.rows]
        labels = None if workload.labels is None else workload.labels[: self.rows]
        full = full_model_flops(manifest.flops, manifest.layers, lengths)
        by_exit = flops_by_exit(manifest.flops, manifest.exits, lengths)
        position = {layer + 1: index for index, layer in enumerate(manifest.exits)}
        times = {name: np.concatenate(passes) for name, passes in self.model_ms.items()}
        whole = self.setup.whole_models()

        def judged(one: SystemAtSpeed) -> SingleStreamSpeed:
            name, exits_early = one.name, one.system.kind != "whole"
            layers = np.array(self.layers[name])
            reference = reference_for(one.system, self.setup.loaded())
            same_precision = reference is not None and reference.precision == one.system.precision
            measured = float(times[reference.name].mean() / times[name].mean()) if reference else None
            flops = by_exit[np.arange(len(layers)), [position[int(run)] for run in layers]]
            row_ms, layer_speedup = self.row_ms(name), manifest.layers / float(layers.mean())
            return SingleStreamSpeed(
                name=name,
                family=one.system.name,
                speed=one.speed,
                latency=summarize(times[name], rows=self.rows),
                latency_with_tokenization=summarize(np.concatenate(self.total_ms[name]), rows=self.rows),
                **self._judged(name),
                mean_layers=float(layers.mean()),
                exit_histogram={str(layer): int((layers == layer + 1).sum()) for layer in manifest.exits}
                if exits_early
                else {},
                exit_mean_ms={str(run - 1): float(row_ms[layers == run].mean()) for run in sorted(set(layers.tolist()))}
                if exits_early
                else {},
                flops_speedup=float(full.mean() / flops.mean()) if exits_early else None,
                layer_speedup=layer_speedup,
                attainable_speedup=attainable_speedup(self.row_ms(reference.name), layers, manifest.layers)
                if reference and same_precision
                else None,
                measured_speedup=measured,
                efficiency=None if measured is None or not same_precision else measured / layer_speedup,
                classes=class_depths(layers, labels, manifest.labels, manifest.layers)
                if exits_early and labels is not None
                else (),
                times_faster={base: float(times[base].mean() / times[name].mean()) for base in whole if base != name},
                times_faster_p50={
                    base: float(np.median(times[base]) / np.median(times[name])) for base in whole if base != name
                },
            )

        return tuple(judged(one) for one in self.setup.systems)
