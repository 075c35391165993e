"""The scenario ``single-stream``: one request after the other, at batch 1, on real rows."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.systems import Family, Runner
from fastbert.benchmarks.timing import BLOCK, Turn, alternate, warm_up
from fastbert.benchmarks.workload import Workload

__all__ = ["STOP_RULE", "TIMED", "SingleStreamRecord", "run_single_stream"]

TIMED = (
    "One call at batch 1, in Python. latency: from token ids to logits; latency_with_tokenization: from a text to "
    "logits, with the bundle's tokenizer for every system. Loading is in neither."
)
_WARM_UP = 10
_MIN_PASSES, _MAX_PASSES, _MIN_CALLS = 2, 20, 200
SPREAD = 0.05
STOP_RULE = (
    f"Warm-up: {_WARM_UP} calls a system, and one before each turn of {BLOCK} rows. Then passes over the rows, all "
    f"systems in turns, until there are at least {_MIN_PASSES} passes and {_MIN_CALLS} calls a system and every "
    f"system's median differs by at most {100 * SPREAD:.0f} % between the last two passes; at most {_MAX_PASSES} "
    "passes, and at most the time allowed."
)


@dataclass
class SingleStreamRecord:
    """What was measured so far; whole turns only, so every system has the same rows.

    :param total_ms: system -> a list a pass, of milliseconds with tokenization; ``model_ms`` without.
    :param labels: system -> class index of each row, from the first pass; ``layers``: layers run.
    :param stopped: see `fastbert.benchmarks.report.results.SingleStreamResult`.
    """

    systems: Mapping[str, tuple[Family, float | None]]
    total_ms: dict[str, list[list[float]]] = field(default_factory=dict)
    model_ms: dict[str, list[list[float]]] = field(default_factory=dict)
    labels: dict[str, list[int]] = field(default_factory=dict)
    layers: dict[str, list[int]] = field(default_factory=dict)
    stopped: str = "interrupted"
    elapsed_s: float = 0.0

    def add(self, turn: Turn, number: int) -> None:
        """Keep a turn of pass ``number``."""
        for name in self.systems:
            for kept in (self.total_ms, self.model_ms):
                while len(kept.setdefault(name, [])) <= number:
                    kept[name].append([])
            tokenization = [result[2] for result in turn.results[name]]
            self.total_ms[name][number] += turn.times_ms[name]
            self.model_ms[name][number] += [
                total - part for total, part in zip(turn.times_ms[name], tokenization, strict=True)
            ]
            if number == 0:
                self.labels.setdefault(name, []).extend(result[0] for result in turn.results[name])
                self.layers.setdefault(name, []).extend(result[1] for result in turn.results[name])

    @property
    def rows(self) -> int:
        """Rows that every system was timed on."""
        return len(next(iter(self.labels.values()), []))

    @property
    def passes(self) -> float:
        """Passes over those rows; the last one may be a part."""
        timed = next(iter(self.model_ms.values()), [])
        return sum(map(len, timed)) / self.rows if self.rows else 0.0

    def window_spread(self) -> float | None:
        """Return how far the medians of the last two whole passes are apart, over systems; None without two."""
        spreads = []
        for passes in self.model_ms.values():
            whole = [one for one in passes if len(one) == self.rows]
            if len(whole) < 2:
                return None
            spreads.append(abs(float(np.median(whole[-1]) / np.median(whole[-2])) - 1))
        return max(spreads, default=None)

    def by_row(self, name: str) -> NDArray[np.float64]:
        """Return each row's median over passes, without tokenization: float64 [rows]."""
        passes = self.model_ms[name]
        whole = [one for one in passes if len(one) == self.rows]
        return np.median(np.array(whole), axis=0)


def run_single_stream(
    record: SingleStreamRecord,
    runners: Mapping[str, Runner],
    workload: Workload,
    encode: Callable[[Sequence[Any]], Any],
    *,
    threads: int,
    max_seconds: float,
    note: Callable[[str], None],
) -> None:
    """Fill the record. If it is interrupted, the record holds every whole turn until then."""

    def call(family: Family, speed: float | None) -> Callable[[int], tuple[int, int, float]]:
        runner = runners[family.name]

        def run(row: int) -> tuple[int, int, float]:
            began = time.perf_counter_ns()
            batch = encode([workload.texts[row]])
            tokenization_ms = (time.perf_counter_ns() - began) / 1e6
            logits, layers = runner.run(batch.input_ids, batch.attention_mask, batch.token_type_ids, speed)
            return int(logits[0].argmax()), int(layers[0]), tokenization_ms

        return run

    systems = {name: call(family, speed) for name, (family, speed) in record.systems.items()}
    warm_up(systems, range(min(_WARM_UP, len(workload))))
    began = time.monotonic()
    try:
        record.stopped = "interrupted"
        for number in range(_MAX_PASSES):
            for turn in alternate(systems, range(len(workload)), rest=threads > 1):
                record.add(turn, number)
                if time.monotonic() - began > max_seconds:
                    record.stopped = "time"
                    return
            spread = record.window_spread()
            note(
                f"single-stream: pass {number + 1}, {record.rows} rows, {time.monotonic() - began:.0f} s"
                + ("" if spread is None else f", medians within {100 * spread:.1f} %")
            )
            calls = (number + 1) * len(workload)
            if number + 1 >= _MIN_PASSES and calls >= _MIN_CALLS and spread is not None and spread <= SPREAD:
                record.stopped = "stable"
                return
        record.stopped = "passes"
    finally:
        record.elapsed_s = time.monotonic() - began
