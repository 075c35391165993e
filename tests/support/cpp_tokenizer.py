"""The tokenizer of the C library, alone, for tests: its driver, and the tokenizers that it is compared with."""

import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from support import libfastbert

CHECKOUT = Path(__file__).resolve().parents[2]
SEEDS = CHECKOUT / "runtime" / "cpp" / "fuzz" / "seeds" / "tokenizer_json"
DATA = CHECKOUT.parent / "shared" / "data"

sys.path.append(str(CHECKOUT))  # the studies are not installed

from studies.tokenizer_driver import Answer, Driver, Text  # noqa: E402


def build() -> Path:
    """Return the driver, which is built with the library; skip the test where it cannot be."""
    if not SEEDS.is_dir():
        pytest.skip("the sources of the C library are not beside the tests")
    libfastbert.built()
    return libfastbert.build_place() / "tests" / "fastbert_tokenize"


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
