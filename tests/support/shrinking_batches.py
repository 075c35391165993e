"""A batch whose rows exit at different depths, run by many threads at once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fastbert.runtime import Classifier


def check_shrinking_batch(classifier: Classifier, rows: int, tolerance: float) -> None:
    """Check that a batch of which some rows exit first answers as its rows do alone.

    :param tolerance: largest difference of logits.
    """
    ids = np.random.default_rng(0).integers(4, 24, (rows, 30))
    uncertainties = classifier.run_all_exits(ids)[1]
    between = [value for value in np.linspace(0, 1, 1000) if 0 < (uncertainties[:, 0] < value).sum() < len(ids)]
    speed = max(between, key=lambda value: np.abs(uncertainties - value).min())  # far from any rounding
    alone = [classifier.run(ids[row : row + 1], speed=speed) for row in range(len(ids))]
    with ThreadPoolExecutor(4) as pool:
        for batch in pool.map(lambda _: classifier.run(ids, speed=speed), range(40)):
            assert np.abs(batch.logits - np.concatenate([row.logits for row in alone])).max() < tolerance
            assert len(set(batch.exit_layer)) > 1
