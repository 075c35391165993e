"""Rows whose answers at every exit are made up."""

import numpy as np

from fastbert.benchmarks.tuning.exits import ExitAnswers
from fastbert.benchmarks.tuning.speeds import Rows


def make_answers(count, *, classes=3, exits=4, flip=0.3, seed=0):
    """Answers that become surer and agree more with every exit, with the right class of each row."""
    generator = np.random.default_rng(seed)
    full = generator.integers(0, classes, count)
    labels = np.where(generator.random(count) < 0.9, full, (full + 1) % classes)
    hardness = generator.random((count, 1))
    depth = np.arange(exits) / (exits - 1)
    uncertainty = np.clip(hardness * (1 - 0.6 * depth), 0, 1).astype(np.float32)
    flips = generator.random((count, exits)) < flip * uncertainty * (1 - depth)
    answers = np.where(flips, (full[:, None] + 1) % classes, full[:, None]).astype(np.int32)
    other = np.sqrt(uncertainty).astype(np.float32)
    return Rows(ExitAnswers(answers, uncertainty, other), labels, tuple(range(exits)))
