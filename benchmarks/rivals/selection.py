"""How a linear model's setting is chosen: by its accuracy on held-out training rows."""

import random
from collections.abc import Callable, Sequence

from fastbert.data.rows import Row
from fastbert.runtime.tokenization import TextInput

_ROWS = 20_000  # rows that choosing uses at most


def best_setting(
    settings: Sequence[str],
    fit: Callable[[str, Sequence[Row]], Callable[[Sequence[str]], Sequence[str]]],
    rows: Sequence[Row],
    *,
    seed: int,
) -> tuple[str, int]:
    """Return the setting whose model is most accurate on a tenth of the rows, trained on the others.

    :param settings: of equals, the first is chosen.
    :param fit: a setting and rows -> texts -> labels.
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
