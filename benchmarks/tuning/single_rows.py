"""The latency of single rows on this machine, and the strictest speed that is fast enough."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastbert.benchmarks.timing import alternate, warm_up
from fastbert.benchmarks.tuning.search import Choice
from fastbert.benchmarks.tuning.speeds import SPEEDS, Rows
from fastbert.benchmarks.tuning.targets import Target
from fastbert.runtime import Classifier
from fastbert.runtime.tokenization import TextInput

MAX_ROWS = 100  # timed rows: enough for a median
_WARM_UP = 5  # rows
_AT_ONCE = 8  # speeds timed against each other, in a round
_ROUNDS = 3

Timer = Callable[[Sequence[float]], dict[float, float]]  # speeds -> speed: median milliseconds


def row_timer(classifier: Classifier, texts: Sequence[TextInput], *, rest: bool) -> Timer:
    """Return a function that times every text at each of some speeds, in turns, from token ids to logits.

    :param rest: as of `fastbert.benchmarks.timing.alternate`.
    """
    inputs = [classifier.encode([text]) for text in texts]

    def run(speed: float, index: int) -> Any:
        row = inputs[index]
        return classifier.run(row.input_ids, row.attention_mask, row.token_type_ids, speed=speed)

    def medians(speeds: Sequence[float]) -> dict[float, float]:
        systems = {str(speed): partial(run, speed) for speed in speeds}
        warm_up(systems, range(min(_WARM_UP, len(inputs))))
        times: dict[str, list[float]] = {name: [] for name in systems}
        for turn in alternate(systems, range(len(inputs)), rest=rest):
            for name, found in turn.times_ms.items():
                times[name] += found
        return {speed: float(np.median(times[str(speed)])) for speed in speeds}

    return medians


def strictest_within(target: Target, rows: Rows, timer: Timer) -> Choice:
    """Return the strictest speed whose median meets the target; if there is none, the loosest, which is the fastest.

    Few speeds are timed: they are evenly spaced in mean layers, at first over all, then around the target.
    """
    layers = np.array([rows.mean_layers(speed) for speed in (0.0, *SPEEDS)])
    speeds = np.array([0.0, *SPEEDS])
    low, high = 0, len(speeds) - 1  # the answer is after `low`, at the latest at `high`
    found: float | None = None
    for _ in range(_ROUNDS):
        tried = _spread(layers, low, high)
        medians = timer([float(speeds[index]) for index in tried])
        met = [index for index in tried if target.is_met(medians[float(speeds[index])])]
        if not met:
            break
        found = float(speeds[met[0]])
        low, high = max([low, *(index for index in tried if index < met[0])]), met[0]
        if high - low <= 1 or layers[low] == layers[high]:
            break
    return Choice(float(speeds[-1]), reached=False) if found is None else Choice(found, reached=True)


def _spread(layers: np.ndarray, low: int, high: int) -> list[int]:
    """Return the first speed at or below each of some evenly spaced mean layers: indices from ``low`` to ``high``."""
    levels = np.linspace(layers[low], layers[high], _AT_ONCE)
    within = np.minimum.accumulate(layers[low : high + 1])
    indices = {low + int(np.argmax(within <= level + 1e-9)) for level in levels}
    return sorted(indices | {high})
