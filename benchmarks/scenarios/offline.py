"""The scenario ``offline``: all rows at once, as fast as they go."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbert.benchmarks.systems import ChainRunner, Family, Runner
from fastbert.benchmarks.workload import Workload

__all__ = ["STOP_RULE", "TIMED", "OfflineRecord", "run_offline"]

TIMED = (
    "From a list of texts to all answers, tokenization included. fastbert: Classifier.predict with as many workers as "
    "there are threads, and batches of its own choice. The others, the naive way: batches of batch_size in the order "
    "of the rows, each padded to its longest, with all threads. "
    "rows_per_s_without_tokenization takes off the time that tokenizing the same batches takes alone."
)
_MIN_PASSES, _MAX_PASSES, _MIN_ROWS = 2, 5, 64
SPREAD = 0.05
STOP_RULE = (
    f"One batch of warm-up a system. Then passes over the rows, one system after the other, until there are at least "
    f"{_MIN_PASSES} and every system's time differs by at most {100 * SPREAD:.0f} % between the last two; at most "
    f"{_MAX_PASSES} passes. The rows are cut, to {_MIN_ROWS} at the least, so that {_MIN_PASSES} passes fit into the "
    "time allowed."
)


@dataclass
class OfflineRecord:
    """What was measured so far; whole passes only.

    :param seconds: system -> seconds of each pass; ``tokenization_s``: of tokenizing all batches alone.
    :param mean_layers: system -> layers run, averaged over rows.
    """

    systems: Mapping[str, tuple[Family, float | None]]
    rows: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    tokenization_s: list[float] = field(default_factory=list)
    mean_layers: dict[str, float] = field(default_factory=dict)
    stopped: str = "interrupted"
    elapsed_s: float = 0.0

    @property
    def passes(self) -> int:
        """Whole passes over the rows by every system."""
        return len(self.tokenization_s)

    def window_spread(self) -> float | None:
        """Return how far the last two passes are apart, over systems; None without a second pass."""
        if self.passes < 2:
            return None
        return max(abs(timed[-1] / timed[-2] - 1) for timed in self.seconds.values())


def run_offline(
    record: OfflineRecord,
    runners: Mapping[str, Runner],
    workload: Workload,
    encode: Callable[[Sequence[Any]], Any],
    *,
    batch_size: int,
    workers: int,
    max_seconds: float,
    note: Callable[[str], None],
) -> None:
    """Fill the record. If it is interrupted, the record holds every whole pass until then.

    :param workers: calls at once, of the chains alone.
    """

    def batches(texts: Sequence[Any]) -> list[Sequence[Any]]:
        return [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]

    def tokenize(texts: Sequence[Any]) -> float:
        for batch in batches(texts):
            encode(batch)
        return 0.0

    def system(family: Family, speed: float | None) -> Callable[[Sequence[Any]], float]:
        runner = runners[family.name]

        def predict(texts: Sequence[Any]) -> float:
            assert isinstance(runner, ChainRunner)
            predictions = runner.classifier.predict(texts, speed=speed, workers=workers)
            return float(np.mean([prediction.exit_layer + 1 for prediction in predictions]))

        def naive(texts: Sequence[Any]) -> float:
            layers = []
            for batch in batches(texts):
                encoded = encode(batch)
                layers.append(runner.run(encoded.input_ids, encoded.attention_mask, encoded.token_type_ids, speed)[1])
            return float(np.concatenate(layers).mean())

        return predict if family.kind == "chain" else naive

    systems = {name: system(family, speed) for name, (family, speed) in record.systems.items()}
    warm_up_s = 0.0
    for run in systems.values():
        run(workload.texts[:batch_size])
        began = time.monotonic()
        run(workload.texts[:batch_size])
        warm_up_s += time.monotonic() - began
    per_row_s = warm_up_s / min(batch_size, len(workload))
    fitting = int(max_seconds / max(_MIN_PASSES * per_row_s, 1e-9))
    texts = workload.texts[: max(_MIN_ROWS, fitting)]
    record.rows = len(texts)
    began = time.monotonic()
    try:
        record.stopped = "interrupted"
        for number in range(_MAX_PASSES):
            one_pass = {}
            for name, run in systems.items():
                called = time.perf_counter()
                record.mean_layers[name] = run(texts)
                one_pass[name] = time.perf_counter() - called
            called = time.perf_counter()
            tokenize(texts)
            tokenization_s = time.perf_counter() - called
            for name, seconds in one_pass.items():
                record.seconds.setdefault(name, []).append(seconds)
            record.tokenization_s.append(tokenization_s)
            spread = record.window_spread()
            note(f"offline: pass {number + 1}, {record.rows} rows, {time.monotonic() - began:.0f} s")
            if number + 1 >= _MIN_PASSES and spread is not None and spread <= SPREAD:
                record.stopped = "stable"
                return
            if time.monotonic() - began > max_seconds:
                record.stopped = "time"
                return
        record.stopped = "passes"
    finally:
        record.elapsed_s = time.monotonic() - began
