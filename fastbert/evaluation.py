"""What a speed costs and gives, from one pass in which every exit was computed.

A sample's exit depends on its own uncertainties only, so every speed can be judged from the same logits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from fastbert.flops import flops_by_exit, full_model_flops
from fastbert.runtime.exit_rule import ExitRule

__all__ = ["ExitTable", "SpeedResult", "evaluate_speed", "exit_positions", "parse_speeds"]


@dataclass(frozen=True)
class ExitTable:
    """Every exit's answer on every sample.

    :param logits: float32 [samples, exits, classes].
    :param uncertainty: float32 [samples, exits].
    :param lengths: int64 [samples], tokens.
    :param labels: int64 [samples], class index.
    :param class_names: by class index.
    :param exits: 0-based layer of each exit.
    :param layers: layers of the model.
    :param flops: `fastbert.flops.model_flops`.
    """

    logits: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    exits: tuple[int, ...]
    layers: int
    flops: Mapping[str, Any]


@dataclass(frozen=True)
class SpeedResult:
    """One speed on one data file.

    :param accuracy: share of right labels, in [0, 1].
    :param mean_layers: layers run, averaged over the samples.
    :param layer_speedup: layers of the model / mean_layers.
    :param flops_per_sample: see `fastbert.flops` for the convention.
    :param flops_speedup: FLOPs of the whole model without early exits / flops_per_sample.
    :param exit_histogram: layer of the exit (0-based) -> samples that left there.
    :param class_mean_layers: class name -> layers run, averaged over that class's samples; None: no such sample.
    """

    speed: float
    samples: int
    accuracy: float
    macro_f1: float
    mean_layers: float
    layer_speedup: float
    flops_per_sample: float
    flops_speedup: float
    exit_histogram: dict[int, int]
    class_mean_layers: dict[str, float | None]


def exit_positions(uncertainty: NDArray[np.float32], speed: float) -> NDArray[np.int64]:
    """Return at which exit each sample leaves: float32 [samples, exits] -> int64 [samples], index into the exits.

    :raises UsageError: ``speed`` is no number in [0, 1].
    """
    leaves = ExitRule(speed).leaves(uncertainty)
    leaves[:, -1] = True
    return leaves.argmax(axis=1)


def evaluate_speed(table: ExitTable, speed: float) -> SpeedResult:
    """Judge one speed.

    :raises UsageError: ``speed`` is no number in [0, 1].
    """
    positions = exit_positions(table.uncertainty, speed)
    samples = np.arange(len(positions))
    predicted = table.logits[samples, positions].argmax(axis=1)
    layers = np.asarray(table.exits)[positions] + 1
    flops = flops_by_exit(table.flops, table.exits, table.lengths)[samples, positions]
    full = full_model_flops(table.flops, table.layers, table.lengths)
    return SpeedResult(
        speed=speed,
        samples=len(samples),
        accuracy=float(accuracy_score(table.labels, predicted)),
        macro_f1=float(f1_score(table.labels, predicted, average="macro")),
        mean_layers=float(layers.mean()),
        layer_speedup=float(table.layers / layers.mean()),
        flops_per_sample=float(flops.mean()),
        flops_speedup=float(full.mean() / flops.mean()),
        exit_histogram={layer: int((positions == index).sum()) for index, layer in enumerate(table.exits)},
        class_mean_layers={
            name: float(layers[table.labels == index].mean()) if (table.labels == index).any() else None
            for index, name in enumerate(table.class_names)
        },
    )


def parse_speeds(text: str) -> list[float]:
    """Read a comma-separated list of speeds, such as ``0,0.1,0.5``.

    :raises UsageError: an element is no number in [0, 1].
    """
    return [ExitRule(_number(part)).speed for part in text.split(",")]


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text.strip()
