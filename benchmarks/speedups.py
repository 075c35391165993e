"""Speed-ups from paired latencies of the chain and the whole model."""

import numpy as np
from numpy.typing import NDArray


def break_even_layers(layers: NDArray[np.float64], ratios: NDArray[np.float64]) -> float | None:
    """Return where the least-squares line through (layers run, time / the whole model's time) reaches 1.

    Both times of a ratio are of the same row, so the row's length, which correlates with its depth, cancels out.

    :param layers: float64 [samples].
    :param ratios: float64 [samples].
    :returns: None if all samples ran the same layers, or time does not grow with layers.
    """
    if len(set(layers.tolist())) < 2:
        return None
    slope, constant = np.polyfit(layers, ratios, 1)
    return float((1 - constant) / slope) if slope > 0 else None


def attainable_speedup(whole_ms: NDArray[np.float64], layers: NDArray[np.int64], count: int) -> float:
    """Return the speed-up of a chain whose exits and calls cost nothing: each row takes its share of the whole model.

    It is below the layer speed-up if slow rows, the long ones, exit late.

    :param whole_ms: float64 [samples], the whole model's latency of each row.
    :param layers: int64 [samples], layers run.
    :param count: layers of the model.
    """
    return float(whole_ms.sum() / (whole_ms * layers / count).sum())
