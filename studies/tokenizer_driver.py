"""The tokenizer of the C library as a process that answers requests: tests/cpp/tokenizer, built with CMake."""

import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

SOURCES = Path(__file__).resolve().parents[1] / "tests" / "cpp" / "tokenizer"
Text = str | bytes | tuple[str | bytes, str | bytes]


class Answer(NamedTuple):
    """What the tokenizer makes of a text.

    :param error: a message, with which the other fields are empty.
    """

    ids: list[int]
    type_ids: list[int]
    truncated: bool
    error: str | None = None


def missing_tool() -> str | None:
    """Return what the driver cannot be built without and is not installed here."""
    return next((tool for tool in ("cmake", "c++") if shutil.which(tool) is None), None)


def build(folder: Path, *options: str) -> Path:
    """Build the driver in a folder; return its path.

    :raises RuntimeError: it did not build.
    """
    steps = (
        ["cmake", "-S", str(SOURCES), "-B", str(folder), *options],
        ["cmake", "--build", str(folder), "--parallel", "2"],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(step)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return folder / "tokenize"


class Driver:
    """A process that tokenizes. Use as a context manager.

    :param program: what `build` returned.
    :param file: a tokenizer.json.
    :param mode: ``"encode"`` or ``"pieces"``.
    """

    def __init__(self, program: Path, file: Path, mode: str = "encode") -> None:
        self._process = subprocess.Popen(
            [str(program), mode, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdin and self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._to.close()
        self._process.wait()
        self._from.close()
        assert self._process.stderr
        self._process.stderr.close()

    def encode(self, text: Text, max_length: int = 1 << 30, side: str = "right") -> Answer:
        """Tokenize a text, or a pair of texts."""
        self._to.write(request(text, max_length, side))
        self._to.flush()
        return self._answer()

    def encode_all(self, requests: Sequence[bytes]) -> list[Answer]:
        """Answer many requests, which `request` made, without waiting for each."""

        def send() -> None:
            for item in requests:
                self._to.write(item)
            self._to.flush()

        sender = threading.Thread(target=send)
        sender.start()
        answers = [self._answer() for _ in requests]
        sender.join()
        return answers

    def pieces(self, text: Text) -> list[str]:
        """Return what the model would read of a text."""
        self._to.write(request(text, 0, "right"))
        self._to.flush()
        assert self._integers(1)[0] == 0, self._string().decode()
        return [self._string().decode() for _ in range(self._integers(1)[0])]

    def _answer(self) -> Answer:
        if status := self._integers(1)[0]:
            return Answer([], [], False, f"{status}: {self._string().decode()}")
        truncated, count = self._integers(2)
        return Answer(list(self._integers(count)), list(self._integers(count)), bool(truncated))

    def _integers(self, count: int) -> tuple[int, ...]:
        found = self._from.read(4 * count)
        if len(found) != 4 * count:
            assert self._process.stderr
            raise RuntimeError(f"The driver ended: {self._process.stderr.read().decode()[-3000:]}")
        return struct.unpack(f"={count}i", found)

    def _string(self) -> bytes:
        return self._from.read(self._integers(1)[0])


def refusal(program: Path, file: Path) -> str:
    """Return with what status and message a tokenizer.json is refused; "" if it is not."""
    done = subprocess.run([str(program), "encode", str(file)], input=b"", capture_output=True, check=False)
    return done.stderr.decode()


def request(text: Text, max_length: int, side: str) -> bytes:
    """Return a request as bytes."""
    parts = list(_parts(text))
    head = struct.pack("=3i", max_length, side == "left", len(parts))
    return head + b"".join(struct.pack("=i", len(part)) + part for part in parts)


def _parts(text: Text) -> Iterator[bytes]:
    for part in text if isinstance(text, tuple) else (text,):
        yield part.encode() if isinstance(part, str) else part


def seconds_per_text(program: Path, file: Path, texts: Sequence[Text], max_length: int) -> float:
    """Return the time that the tokenizer takes per text in one thread: the fastest of three rounds over all texts."""
    requests = b"".join(request(text, max_length, "right") for text in texts)
    done = subprocess.run([str(program), "time", str(file)], input=requests, capture_output=True, check=True)
    return float(done.stdout)
