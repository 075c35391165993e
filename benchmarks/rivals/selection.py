"""How a linear model is trained: with the setting that is most accurate on held-out training rows."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from fastbert.benchmarks.rivals.text_classifier import TextClassifier
from fastbert.data.rows import Row
from fastbert.runtime.tokenization import TextInput

_ROWS = 20_000  # rows that choosing uses at most

Fit = Callable[[str, Sequence[Row]], Callable[[Sequence[str]], Sequence[str]]]  # a setting, rows -> texts -> labels


def train_best(
    settings: Sequence[str], fit: Fit, rows: Sequence[Row], labels: Sequence[str], *, seed: int
) -> tuple[dict[str, Any], TextClassifier]:
    """Train on all rows with the best setting; return what was chosen on how many rows, and the answer to a text.

    :param labels: of the benched bundle: the answers are indices of these.
    """
    setting, held_out = best_setting(settings, fit, rows, seed=seed)
    predict = fit(setting, rows)
    index = {label: number for number, label in enumerate(labels)}

    def answer(text: TextInput) -> tuple[int, float]:
        return index[predict([plain_text(text)])[0]], 0.0

    return {"features": setting, "chosen_on_rows": held_out}, answer


def best_setting(settings: Sequence[str], fit: Fit, rows: Sequence[Row], *, seed: int) -> tuple[str, int]:
    """Return the setting whose model is most accurate on a tenth of the rows, trained on the others.

    :param settings: of equals, the first is chosen.
    :returns: setting, number of held-out rows; the first setting and 0 where there are too few rows to choose on.
    """
    chosen = random.Random(seed).sample(rows, min(len(rows), _ROWS))
    held_out, kept = chosen[: len(chosen) // 10], chosen[len(chosen) // 10 :]
    if not held_out or len({row.label for row in kept}) < 2:
        return settings[0], 0
    texts = [plain_text(row.text_input) for row in held_out]

    def right(setting: str) -> int:
        predicted = fit(setting, kept)(texts)
        return sum(label == row.label for label, row in zip(predicted, held_out, strict=True))

    return max(settings, key=right), len(held_out)


def plain_text(text: TextInput) -> str:
    """Return one line: linear models see a pair as the words of both texts."""
    return " ".join((text if isinstance(text, str) else " ".join(text)).split())
