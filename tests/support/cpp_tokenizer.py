"""The tokenizer of the C library, alone, for tests: its driver, and the tokenizers that it is compared with."""

import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from support import libfastbert

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CHECKOUT = Path(__file__).resolve().parents[2]
SEEDS = CHECKOUT / "runtime" / "cpp" / "fuzz" / "seeds" / "tokenizer_json"
DATA = CHECKOUT.parent / "shared" / "data"

sys.path.append(str(CHECKOUT))  # the studies are not installed

from studies.tokenizer_cases import wordpiece  # noqa: E402
from studies.tokenizer_driver import Answer, Driver, Text  # noqa: E402


def build() -> Path:
    """Return the driver, which is built with the library; skip the test where it cannot be."""
    if not SEEDS.is_dir():
        pytest.skip("the sources of the C library are not beside the tests")
    libfastbert.built()
    return libfastbert.build_place() / "tests" / "fastbert_tokenize"


@pytest.fixture(scope="session")
def program():
    return build()


@pytest.fixture
def driver(program, tmp_path):
    """Start a driver with a tokenizer."""
    started = []

    def start(tokenizer: Tokenizer, mode: str = "encode") -> Driver:
        tokenizer.save(str(tmp_path / f"{len(started)}.json"))
        started.append(Driver(program, tmp_path / f"{len(started)}.json", mode))
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


def expected(tokenizer: Tokenizer, text: Text, max_length: int | None = None, side: str = "right") -> Answer:
    """Return what `tokenizers` makes of a text or pair; `max_length` None: without truncation."""
    tokenizer.no_padding()
    if max_length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_length, direction=side)
    parts: Any = text if isinstance(text, tuple) else (text,)
    found = tokenizer.encode(*parts)
    return Answer(found.ids, found.type_ids, bool(found.overflowing))


def compare(
    driver: Driver, tokenizer: Tokenizer, text: Text, max_length: int | None = None, side: str = "right"
) -> None:
    """Compare a text with `tokenizers`."""
    found = driver.encode(text, max_length or 1 << 20, side)
    assert found == expected(tokenizer, text, max_length, side), (text, max_length, side)


def letters_tokenizer():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
    return wordpiece(words)
