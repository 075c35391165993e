"""Checks that a device's full batches give the answers of single rows."""

import numpy as np
import pytest

from fastbert.runtime import Classifier


def check_full_batches(device: Classifier, workers: int) -> None:
    """Predict texts of many lengths together and one by one, at a speed where some exit early."""
    rng = np.random.default_rng(3)
    words = ["good", "bad", "film", "the", "a", "very", "actor", "plot"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 14))) for _ in range(80)]
    encoded = device.encode(texts)
    _, uncertainty = device.run_all_exits(encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    values = np.sort(uncertainty[:, :-1].ravel())
    middle = values[len(values) // 4 : -len(values) // 4]
    widest = np.diff(middle).argmax()
    speed = float(middle[widest : widest + 2].mean())  # far from every uncertainty: rounding flips no exit
    alone = [device.predict([text], speed=speed)[0] for text in texts]
    assert len({answer.exit_layer for answer in alone}) > 1
    pools, made = device._engine.pools, []
    device._engine.pools = lambda *shape: made.append(pools(*shape)) or made[-1]
    try:
        together = device.predict(texts, speed=speed, workers=workers)
    finally:
        del device._engine.pools
    assert sum(len(texts) > one.batch for one in made) > 1  # several groups fill batches
    for answer, expected in zip(together, alone, strict=True):
        assert (answer.label, answer.exit_layer) == (expected.label, expected.exit_layer)
        assert answer.uncertainty == pytest.approx(expected.uncertainty, abs=1e-3)
