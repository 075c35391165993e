"""The scenario ``offline``: all rows at once, as fast as possible."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbert.benchmarks.scenarios import Scenario, Setup
from fastbert.benchmarks.systems import ChainRunner, Runner, SystemAtSpeed
from fastbert.runtime.tokenization import TextInput

_log = logging.getLogger(__name__)
_MIN_PASSES, _MAX_PASSES, _MIN_ROWS = 2, 5, 64
SPREAD = 0.05
_TIMED = (
    "From a list of texts to all answers, tokenization included. fastbert: Classifier.predict with as many workers as "
    "there are threads, and batches that it chooses. The others, without tuning: batches of batch_size in the order "
    "of the rows, each padded to its longest, with all threads. "
    "rows_per_s_without_tokenization subtracts the time that tokenizing the same batches takes alone."
)
_STOP_RULE = (
    f"One batch of warm-up per system. Then passes over the rows, one system after another, until there are at least "
    f"{_MIN_PASSES} and every system's time differs by at most {100 * SPREAD:.0f} % between the last two; at most "
    f"{_MAX_PASSES} passes. The rows are cut, to no fewer than {_MIN_ROWS}, so that {_MIN_PASSES} passes fit into the "
    "time allowed."
)


@dataclass(frozen=True)
class OfflineSpeed:
    """Throughput of one system at one speed.

    :param family: name of the system.
    :param rows_per_s: tokenization included: the median over passes.
    :param rows_per_s_without_tokenization: rows / (time of a pass - time that tokenizing its batches takes).
    :param mean_layers: layers run, averaged over the rows.
    :param times_faster: whole model -> rows_per_s / its rows_per_s.
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
    """All rows at once. Fields as in `fastbert.benchmarks.scenarios.single_stream.SingleStreamResult`."""

    timed: str
    stop_rule: str
    threads: int
    batch_size: int
    rows: int
    passes: int
    window_spread: float | None
    stopped: str
    elapsed_s: float
    systems: tuple[OfflineSpeed, ...]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Offline(Scenario):
    """Runs every system over all rows, pass by pass. Keeps whole passes only.

    :ivar seconds: name -> seconds of each pass.
    :ivar tokenization_s: seconds of tokenizing all batches alone, for each pass.
    """

    one_thread_kinds = ("chain",)  # one worker per thread is the fastest way to run many texts

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.seconds: dict[str, list[float]] = {one.name: [] for one in setup.systems}
        self.tokenization_s: list[float] = []
        self._mean_layers: dict[str, float] = {}
        self._texts: Sequence[TextInput] = ()

    def result(self) -> OfflineResult | None:
        """Return what was measured; None: not even one pass."""
        if not self.tokenization_s:
            return None
        return OfflineResult(
            timed=_TIMED,
            stop_rule=_STOP_RULE,
            threads=self.setup.threads,
            batch_size=self.setup.options.batch_size,
            rows=len(self._texts),
            passes=len(self.tokenization_s),
            window_spread=self._window_spread(),
            stopped=self._stopped,
            elapsed_s=self._elapsed_s,
            systems=self._systems(),
            settings=self.setup.settings,
        )

    def _call(self, one: SystemAtSpeed, runner: Runner) -> Callable[[Sequence[TextInput]], float]:
        """Return a function: texts -> mean layers run."""
        encode, workers = self.setup.encode, self.setup.threads

        def predict(texts: Sequence[TextInput]) -> float:
            assert isinstance(runner, ChainRunner)
            predictions = runner.classifier.predict(texts, speed=one.speed, workers=workers)
            return float(np.mean([prediction.layers_run for prediction in predictions]))

        def plain(texts: Sequence[TextInput]) -> float:
            layers = []
            for batch in self._batches(texts):
                encoded = encode(batch)
                ids, mask, types = encoded.input_ids, encoded.attention_mask, encoded.token_type_ids
                layers.append(runner.run(ids, mask, types, one.speed)[1])
            return float(np.concatenate(layers).mean())

        return predict if one.system.kind == "chain" else plain

    def _batches(self, texts: Sequence[TextInput]) -> list[Sequence[TextInput]]:
        size = self.setup.options.batch_size
        return [texts[start : start + size] for start in range(0, len(texts), size)]

    def _warm_up(self, calls: Mapping[str, Callable[[Sequence[TextInput]], float]]) -> None:
        """Run one batch, and choose the rows: as many as `_MIN_PASSES` passes have time for."""
        workload, options = self.setup.workload, self.setup.options
        batch = workload.texts[: options.batch_size]
        warm_up_s = 0.0
        for call in calls.values():
            call(batch)
            began = time.monotonic()
            call(batch)
            warm_up_s += time.monotonic() - began
        fitting = int(options.max_seconds / max(_MIN_PASSES * warm_up_s / len(batch), 1e-9))
        self._texts = workload.texts[: max(_MIN_ROWS, fitting)]

    def _measure(self, calls: Mapping[str, Callable[[Sequence[TextInput]], float]]) -> str:
        for number in range(_MAX_PASSES):
            self._one_pass(calls)
            _log.info("offline: pass %d, %d rows, %.0f s", number + 1, len(self._texts), self._seconds())
            spread = self._window_spread()
            if number + 1 >= _MIN_PASSES and spread is not None and spread <= SPREAD:
                return "stable"
            if self._seconds() > self.setup.options.max_seconds:
                return "time"
        return "passes"

    def _one_pass(self, calls: Mapping[str, Callable[[Sequence[TextInput]], float]]) -> None:
        seconds = {}
        for name, call in calls.items():
            began = time.perf_counter()
            self._mean_layers[name] = call(self._texts)
            seconds[name] = time.perf_counter() - began
        began = time.perf_counter()
        for batch in self._batches(self._texts):
            self.setup.encode(batch)
        tokenization_s = time.perf_counter() - began
        for name, value in seconds.items():  # together, so that an interruption keeps whole passes only
            self.seconds[name].append(value)
        self.tokenization_s.append(tokenization_s)

    def _window_spread(self) -> float | None:
        """Return how much the last two passes differ, over systems; None without a second pass."""
        if len(self.tokenization_s) < 2:
            return None
        return max(abs(timed[-1] / timed[-2] - 1) for timed in self.seconds.values())

    def _systems(self) -> tuple[OfflineSpeed, ...]:
        median = {name: float(np.median(seconds)) for name, seconds in self.seconds.items()}
        tokenization = float(np.median(self.tokenization_s))
        return tuple(
            OfflineSpeed(
                name=one.name,
                family=one.system.name,
                speed=one.speed,
                rows_per_s=len(self._texts) / median[one.name],
                rows_per_s_without_tokenization=len(self._texts) / (median[one.name] - tokenization)
                if median[one.name] > tokenization
                else None,
                mean_layers=self._mean_layers[one.name],
                times_faster={
                    base: median[base] / median[one.name] for base in self.setup.whole_models() if base != one.name
                },
            )
            for one in self.setup.systems
        )
