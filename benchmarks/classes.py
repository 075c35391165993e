"""How deep the rows of each class run, and what that says about another mix of classes than the file's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROWS = 20  # of a class, for the note to mention it
_SPREAD = 0.2  # of the mean: a class must run so many layers more or less


@dataclass(frozen=True)
class ClassDepth:
    """The rows of one class.

    :param name: the class that the rows' labels name.
    :param mean_layers: layers run, averaged over them.
    :param full_depth: share of them that reached the last layer, in [0, 1].
    """

    name: str
    rows: int
    mean_layers: float
    full_depth: float


def class_depths(
    layers: NDArray[np.int64], labels: NDArray[np.int64], names: Sequence[str], full: int
) -> tuple[ClassDepth, ...]:
    """Return every class that has rows, the deepest first.

    :param layers: int64 [rows], layers run.
    :param labels: int64 [rows], class index.
    :param names: by class index.
    :param full: layers of the model.
    """
    found = []
    for index, name in enumerate(names):
        own = layers[labels == index]
        if len(own):
            found.append(ClassDepth(name, len(own), float(own.mean()), float((own == full).mean())))
    return tuple(sorted(found, key=lambda depth: -depth.mean_layers))


def mix_note(depths: Sequence[ClassDepth]) -> str | None:
    """Say that the saving depends on how frequent each class is, if it does; None: all classes run about as deep.

    :param depths: at one speed, in any order.
    """
    by_depth = sorted(depths, key=lambda depth: -depth.mean_layers)
    many = [depth for depth in by_depth if depth.rows >= _ROWS]
    if len(many) < 2:
        return None
    rows = sum(depth.rows for depth in depths)
    mean = sum(depth.rows * depth.mean_layers for depth in depths) / rows
    deepest, shallowest = many[0], many[-1]
    if max(deepest.mean_layers - mean, mean - shallowest.mean_layers) < _SPREAD * mean:
        return None
    return (
        f"the saving depends on the mix of classes: rows of the class {deepest.name} run {deepest.mean_layers:.1f} "
        f"layers on average, those of {shallowest.name} {shallowest.mean_layers:.1f}. The mean of {mean:.1f} is for "
        f"this file, where they are {100 * deepest.rows / rows:.0f} % and {100 * shallowest.rows / rows:.0f} % of the "
        "rows. For another mix, weight each class's mean layers by its share."
    )
