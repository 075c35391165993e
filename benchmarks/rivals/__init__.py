"""What else a reader might run: cheaper models, trained on the same file or exported beside, timed on the same rows.

A rival is timed from a text to its answer, with its own features or tokenizer, in the scenario ``single-stream``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbert.benchmarks.rivals.bundles import bundle_answers
from fastbert.benchmarks.rivals.fasttext import train_fasttext
from fastbert.benchmarks.rivals.text_classifier import TextClassifier
from fastbert.benchmarks.rivals.tfidf import train_tfidf
from fastbert.benchmarks.systems import Skipped
from fastbert.data import read_rows
from fastbert.runtime.errors import DataError, FastBertError
from fastbert.runtime.manifest import Manifest


@dataclass(frozen=True)
class Rival:
    """A loaded rival.

    :param settings: how it was trained and what it runs on.
    """

    name: str
    title: str
    settings: Mapping[str, Any]
    answer: TextClassifier


def load_rivals(
    train: Path | None, bundles: Sequence[Path], manifest: Manifest, *, device: str, threads: int, seed: int
) -> tuple[list[Rival], list[Skipped]]:
    """Train the linear models and load the bundles. What is not installed is skipped, with the reason.

    :param train: labelled rows; None: no linear models.
    :param bundles: each is a rival per variant that ``device`` runs, at full depth.
    :param manifest: of the benched bundle, whose labels all have.
    :raises DataError: ``train`` is unreadable, has a row without a label or with one that the bundle lacks, or has
        one label only.
    :raises UsageError: a rival bundle has other labels, or no variant for the device.
    :raises BundleError: a rival bundle is missing or damaged.
    """
    rivals, skipped = _bundle_rivals(bundles, manifest.labels, device=device, threads=threads), []
    rows = [] if train is None else read_rows(train, labels=manifest.labels, require_label=True)
    if train is not None and len({row.label for row in rows}) < 2:
        raise DataError(
            f"`rivals`: every row of {train} has the label {rows[0].label!r}, and a model needs at least two labels "
            "to learn from. Name a file with more of them."
        )
    for name, (title, make) in _LINEAR.items() if train is not None else ():
        try:
            settings, answer = make(rows, manifest.labels, seed=seed)
        except FastBertError as error:
            skipped.append(Skipped(name, str(error)))
        else:
            rivals.append(Rival(name, title, {**settings, "train_rows": len(rows), "threads": 1}, answer))
    return rivals, skipped


# name -> title, function of rows and labels: settings and the answer to a text
_LINEAR: dict[str, tuple[str, Callable[..., tuple[dict[str, Any], TextClassifier]]]] = {
    "tfidf": ("TF-IDF + logistic regression", train_tfidf),
    "fasttext": ("fastText", train_fasttext),
}


def _bundle_rivals(bundles: Sequence[Path], labels: Sequence[str], *, device: str, threads: int) -> list[Rival]:
    rivals = []
    once = list({path.resolve(): path for path in bundles}.values())  # one of another spelling is the same
    for path, name in zip(once, _short_names(once), strict=True):
        for variant, layers, answer in bundle_answers(path, labels, device=device, threads=threads):
            title = f"{name} {variant}, {layers} layer{'s' if layers > 1 else ''}"
            settings = {"layers": layers, "device": device, "threads": threads}
            rivals.append(Rival(f"{name} {variant}", title, settings, answer))
    return rivals


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Return the last part of each path, or as many as tell them apart; all paths are different."""
    resolved = [path.resolve() for path in paths]
    parts = 1
    while len({one.parts[-parts:] for one in resolved}) < len(resolved):
        parts += 1
    return ["/".join(one.parts[-parts:]) for one in resolved]
