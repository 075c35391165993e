"""The tokenizer of the C library, alone, for tests: its driver, and the tokenizers that it is compared with."""

import fcntl
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CHECKOUT = Path(__file__).resolve().parents[2]
SEEDS = CHECKOUT / "runtime" / "cpp" / "fuzz" / "seeds" / "tokenizer_json"
DATA = CHECKOUT.parent / "shared" / "data"

sys.path.append(str(CHECKOUT))  # the studies are not installed

from studies import tokenizer_driver  # noqa: E402
from studies.tokenizer_cases import wordpiece  # noqa: E402
from studies.tokenizer_driver import Answer, Driver, Text  # noqa: E402


def build(cache: pytest.Cache) -> Path:
    """Build the driver, once for all processes; it is kept, so that the next run builds only what has changed."""
    if not SEEDS.is_dir():
        pytest.skip("the sources of the C library are not beside the tests")
    if tool := tokenizer_driver.missing_tool():
        pytest.skip(f"building the tokenizer needs {tool}")
    folder = cache.mkdir("tokenizer")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return tokenizer_driver.build(folder / "build")
        except RuntimeError as error:
            if "utf8proc" in str(error) or "nlohmann_json" in str(error):
                pytest.skip(f"a library is missing: {str(error)[-500:]}")
            raise


@pytest.fixture(scope="session")
def program(request):
    return build(request.config.cache)


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
