"""Does the C library tokenize as `tokenizers` does? Rows of real sets and fuzzed texts, by every kind of tokenizer.

    python -m studies.tokenizer_parity --data DIRECTORY --output FILE

DIRECTORY has sets (SET/*.tsv, with a header and columns text or text_a and text_b) and vocab/*.vocab.txt. With the
package sentencepiece, the normalizer Precompiled has SentencePiece's table nmt_nfkc; otherwise a small one.
"""

import argparse
import io
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Tokenizer

from fastbert.benchmarks.machine.environment import describe_environment
from studies import tokenizer_driver
from studies.tokenizer_cases import cases, charsmap, fuzzed_texts, read_rows
from studies.tokenizer_driver import Answer, Driver, Text

_BATCH = 1000
_TRAINED_ON = 3000  # texts
_SHORT = (
    12  # characters of the texts whose truncation is compared: `tokenizers` combines all that it cuts off of a pair
)
_LENGTHS = (7, 8, 9, 14)  # tokens
_TRUNCATED_STEP = 20  # of so many texts, one is compared with truncation, too


def main() -> None:
    """Compare, print a line per tokenizer, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m studies.tokenizer_parity", description=__doc__.split("?")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fuzzed", type=int, default=100_000)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--tokenizers", default="", help="only those with this in their names")
    asked = parser.parse_args()
    rows = read_rows(asked.data)
    texts = [text for row in rows for text in row]
    random.Random(0).shuffle(texts)
    vocabularies = {path.name.split(".vocab")[0]: _lines(path) for path in sorted(asked.data.glob("vocab/*.vocab.txt"))}
    table, table_name = _table(texts)
    makers = cases(texts[:_TRAINED_ON], vocabularies, table)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        program = tokenizer_driver.build(Path(folder) / "build")
        for name, make in makers.items():
            if asked.tokenizers in name:
                found[name] = compare(program, Path(folder) / "tokenizer.json", make, rows, asked.fuzzed)
                print(name, json.dumps(found[name]), flush=True)
    report = {
        "command": "python -m studies.tokenizer_parity",
        "tokenizers": tokenizers.__version__,
        "precompiled_table": table_name,
        "rows": len(rows),
        "texts": len(texts),
        "fuzzed_texts": asked.fuzzed,
        "environment": {name: value for name, value in describe_environment().items() if name != "command"},
        "found": found,
    }
    if asked.output:
        asked.output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def compare(
    program: Path, file: Path, make: Callable[[], Tokenizer], rows: Sequence[tuple[str, ...]], fuzzed: int
) -> dict[str, Any]:
    """Compare one tokenizer on all texts: how many requests were made, how many differ, and the first that do."""
    make().save(str(file))
    tokenizer = Tokenizer.from_file(str(file))  # scores change when they are read
    tokenizer.no_padding()
    found: dict[str, Any] = {"rows": 0, "fuzzed": 0, "truncated": 0, "differ": 0, "first": []}
    start = time.perf_counter()
    with Driver(program, file) as driver:
        for kind, texts in (("rows", [_text(row) for row in rows]), ("fuzzed", _fuzzed(fuzzed))):
            for part in _parts(texts):
                _count(found, kind, part, driver, tokenizer, None, "right")
                short = [_shortened(text) for text in part[::_TRUNCATED_STEP]]
                length, side = random.Random(len(part[0])).choice(_LENGTHS), "left" if len(part[0]) % 2 else "right"
                _count(found, "truncated", short, driver, tokenizer, length, side)
    return {**found, "seconds": round(time.perf_counter() - start)}


def _count(
    found: dict[str, Any],
    kind: str,
    texts: Sequence[Text],
    driver: Driver,
    tokenizer: Tokenizer,
    length: int | None,
    side: str,
) -> None:
    if length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(length, direction=side)
    wanted = [Answer(one.ids, one.type_ids, bool(one.overflowing)) for one in tokenizer.encode_batch(list(texts))]
    answers = driver.encode_all([tokenizer_driver.request(text, length or 1 << 20, side) for text in texts])
    differing = [text for text, one, other in zip(texts, answers, wanted, strict=True) if one != other]
    found[kind] += len(texts)
    found["differ"] += len(differing)
    found["first"] = (found["first"] + [ascii(text)[:300] for text in differing])[:3]


def _fuzzed(count: int) -> list[Text]:
    """Return fuzzed texts, of which every tenth is a pair."""
    texts = fuzzed_texts(count, seed=1)
    return [(text, texts[at - 1]) if at % 10 == 0 else text for at, text in enumerate(texts)]


def _text(row: tuple[str, ...]) -> Text:
    return row[0] if len(row) == 1 else (row[0], row[1])


def _shortened(text: Any) -> Text:
    return tuple(part[:_SHORT] for part in text) if isinstance(text, tuple) else text  # type: ignore[return-value]


def _parts(texts: Sequence[Text]) -> Iterator[Sequence[Text]]:
    for at in range(0, len(texts), _BATCH):
        yield texts[at : at + _BATCH]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n")


def _table(texts: Sequence[str]) -> tuple[bytes, str]:
    """Return a table for `Precompiled` and its name."""
    try:
        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        return charsmap({"\ufb01": "fi", "\u2460": "1", "\t": " ", "e\u0301": "é", "\u0958": "\u0915\u093c"}), "small"
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts[:1000]), model_writer=written, vocab_size=4000, minloglevel=2
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(written.getvalue())
    return model.normalizer_spec.precompiled_charsmap, model.normalizer_spec.name


if __name__ == "__main__":
    main()
