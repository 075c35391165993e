"""Linear bags of words, n-grams and subwords, by fastText, where its package is installed."""

import importlib.util
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastbert.benchmarks.rivals.selection import plain_text, train_best
from fastbert.benchmarks.rivals.text_classifier import TextClassifier
from fastbert.data.rows import Row
from fastbert.runtime.errors import EngineError

_PREFIX = "__label__"
_SETTINGS: dict[str, dict[str, Any]] = {
    "words 1-2": {"wordNgrams": 2},
    "words 1-2, characters 2-5": {"wordNgrams": 2, "minn": 2, "maxn": 5},
}
_COMMON = {"lr": 0.5, "epoch": 20, "dim": 50, "bucket": 500_000, "loss": "softmax", "thread": 1, "verbose": 0}
_log = logging.getLogger(__name__)


def train_fasttext(rows: Sequence[Row], labels: Sequence[str], *, seed: int) -> tuple[dict[str, Any], TextClassifier]:
    """Train on all rows with the setting that is best on held-out ones.

    :param labels: of the benched bundle: the answers are indices of these.
    :returns: settings, and the answer to a text.
    :raises EngineError: its package is not installed.
    """
    if importlib.util.find_spec("fasttext") is None:
        raise EngineError("fasttext is not installed. Install one of its builds, such as: pip install fasttext-numpy2")
    import fasttext

    _log.info("fasttext: training on %d rows", len(rows))
    index = {label: number for number, label in enumerate(labels)}

    def fit(setting: str, chosen: Sequence[Row]) -> Callable[[Sequence[str]], Sequence[str]]:
        lines = [f"{_PREFIX}{index[row.label or '']} {plain_text(row.text_input)}\n" for row in chosen]
        with tempfile.TemporaryDirectory(prefix="fastbert-fasttext-") as folder:
            path = Path(folder) / "train.txt"
            path.write_text("".join(lines), encoding="utf-8", newline="\n")
            model = fasttext.train_supervised(str(path), seed=seed % 2**31, **_COMMON, **_SETTINGS[setting])
        return lambda texts: [labels[int(model.predict(text)[0][0].removeprefix(_PREFIX))] for text in texts]

    settings, answer = train_best(tuple(_SETTINGS), fit, rows, labels, seed=seed)
    return {**settings, **_COMMON}, answer
