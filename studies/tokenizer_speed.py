"""How fast is the C library's tokenizer beside `tokenizers`? Time per text of real rows, one text at a time.

    python -m studies.tokenizer_speed --data DIRECTORY --output FILE

DIRECTORY is that of studies.tokenizer_parity. The time of `tokenizers` includes its call from Python, and the C
library's is measured in C++; `batch` is `encode_batch` on all cores, divided by the number of texts.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer, normalizers

from fastbert.benchmarks.machine.environment import describe_environment
from studies import tokenizer_driver
from studies.tokenizer_cases import byte_level, read_rows, unigram, wordpiece, xlm_roberta_split

_ROUNDS = 5
_MAX_LENGTH = 128
_TRAINED_ON = 3000  # texts


def main() -> None:
    """Measure, print a line per tokenizer and set, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m studies.tokenizer_speed", description=__doc__.split("?")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=800, help="of each set")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    sets = {folder.name: [row[0] for row in read_rows(folder.parent, folder.name)] for folder in _sets(asked.data)}
    chosen = {name: random.Random(0).sample(texts, asked.texts) for name, texts in sets.items()}
    mixed = [text for texts in sets.values() for text in texts]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        program = tokenizer_driver.build(Path(folder) / "build")
        for name, tokenizer in _tokenizers(asked.data, random.Random(0).sample(mixed, _TRAINED_ON)).items():
            file = Path(folder) / "tokenizer.json"
            tokenizer.save(str(file))
            tokenizer.enable_truncation(_MAX_LENGTH)
            for data, texts in chosen.items():
                row = {"tokenizer": name, "data": data, **measure(program, file, tokenizer, texts)}
                found.append(row)
                print(json.dumps(row), flush=True)
    report = {
        "command": "python -m studies.tokenizer_speed",
        "tokenizers": tokenizers.__version__,
        "texts_of_each_set": asked.texts,
        "max_length": _MAX_LENGTH,
        "environment": {name: value for name, value in describe_environment().items() if name != "command"},
        "found": found,
    }
    if asked.output:
        asked.output.write_text(json.dumps(report, indent=2) + "\n")


def measure(program: Path, file: Path, tokenizer: Tokenizer, texts: list[str]) -> dict[str, float]:
    """Return microseconds per text: the fastest of some rounds over all texts, taken in turns."""
    own, single, batch = [], [], []
    for _ in range(_ROUNDS):
        own.append(tokenizer_driver.seconds_per_text(program, file, texts, _MAX_LENGTH))
        single.append(_seconds(lambda: [tokenizer.encode(text) for text in texts]) / len(texts))
        batch.append(_seconds(lambda: tokenizer.encode_batch(texts)) / len(texts))
    return {
        "tokens": round(sum(len(tokenizer.encode(text).ids) for text in texts) / len(texts), 1),
        "c_us": round(min(own) * 1e6, 2),
        "tokenizers_us": round(min(single) * 1e6, 2),
        "tokenizers_batch_us": round(min(batch) * 1e6, 2),
        "times_as_fast": round(min(single) / min(own), 1),
    }


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _sets(data: Path) -> Sequence[Path]:
    return sorted(folder for folder in data.iterdir() if list(folder.glob("*.tsv")))


def _tokenizers(data: Path, texts: list[str]) -> dict[str, Tokenizer]:
    found = {}
    for path in sorted(data.glob("vocab/*.vocab.txt")):
        vocabulary = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        found[f"wordpiece {path.name.split('.vocab')[0]}"] = wordpiece(vocabulary)
    found["byte-level"] = byte_level(texts)
    found["unigram"] = unigram(texts, normalizers.NFKC(), xlm_roberta_split())
    return found


if __name__ == "__main__":
    main()
