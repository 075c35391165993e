"""The terminal side of the command line: standard streams that accept any text, and text that is safe to print.

**Encoding**: `open_streams` chooses what ``PYTHONIOENCODING`` names, else the locale's encoding, with UTF-8 in place of
an ASCII that was not asked for (the C locale). Characters outside the encoding are escaped: in JSON as ``\\uXXXX``,
elsewhere with a backslash.

**stdout**: its errors carry its name. A full disk ends a command with one line, a pipe closed by its reader ends it
silently, both with exit code 1. A closed stdout is refused before any work, since answers would be lost. **stderr**
holds notes only: what it cannot accept (a full disk, a closed descriptor) is lost, and the work continues.

**Labels and paths** may hold any character: `visible` escapes those that a terminal would obey or hide, and rich's
markup and emoji codes are off.
"""

import codecs
import errno
import io
import json
import logging
import os
import re
import select
import sys
from contextlib import suppress
from typing import Any, TextIO
from unicodedata import category

STDOUT = "stdout"
_TABLE_WIDTH = 140  # characters, where stdout is not a terminal
_ANY_WIDTH = 1_000_000
_JOINERS = "\u200c\u200d"  # used in Persian and Indian words, and in emoji
# allowed in a JSON string, but not safe in a terminal or a line: DEL, C1, line ends, bidirectional controls
_NOT_IN_JSON_LINES = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class _Descriptor(io.FileIO):
    """A standard stream that writes everything, even to a non-blocking pipe."""

    def write(self, data: Any) -> int:
        remaining = memoryview(data).cast("B")
        while len(remaining):
            written = super().write(remaining)
            if written is None:
                select.select([], [self.fileno()], [])
            else:
                remaining = remaining[written:]
        return len(data)


class _Stdout(_Descriptor):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = STDOUT
            raise


class _Stderr(_Descriptor):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def open_streams() -> None:
    """Set up stdout and stderr as described above. Streams that a host program or a test put in place stay.

    :raises OSError: stdout is closed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the next file opened would become stdout
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        raise OSError(errno.EBADF, "closed, so the output would be lost; redirect it to a file or to /dev/null", STDOUT)
    sys.stdout = _reopened(sys.stdout, 1, _Stdout)
    sys.stderr = _reopened(sys.stderr, 2, _Stderr)


def _reopened(stream: TextIO, descriptor: int, kind: type[_Descriptor]) -> TextIO:
    try:
        if stream.fileno() != descriptor or not isinstance(stream, io.TextIOWrapper):
            return stream
    except (OSError, ValueError):  # a stream of a test or of a host program
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(kind(descriptor, "w", closefd=False)),
        encoding=_encoding(stream.encoding),
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )


def _encoding(chosen: str) -> str:
    asked = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    return "utf-8" if codecs.lookup(chosen).name == "ascii" and not asked else chosen


def abandon_stdout() -> None:
    """Discard what is still buffered: Python would try to write it again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def json_text(document: Any, *, indent: int | None = None) -> str:
    """Return JSON that stdout can encode, without characters that break a line."""
    ascii_only = not _stdout_encoding().startswith("utf")
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only, default=str)
    return _NOT_IN_JSON_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def visible(text: str, *, keep: str = "") -> str:
    """Escape characters that a terminal obeys or hides, and decode bytes of a file name that are UTF-8.

    :param keep: characters not to escape, such as line ends.
    """
    if text.isprintable():
        return text
    with suppress(UnicodeEncodeError):  # other surrogates: the stream escapes them
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(character if _is_shown(character, keep) else _escaped(character) for character in text)


def utf8_text(argument: str) -> str:
    """Return a command-line argument as UTF-8 text. In the C locale, without UTF-8 mode, Python reads it as ASCII."""
    with suppress(UnicodeError):
        return argument.encode("utf-8", "surrogateescape").decode("utf-8")
    return argument


def _is_shown(character: str, keep: str) -> bool:
    return character.isprintable() or character in keep or character in _JOINERS or category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def table_cell(text: str) -> str:
    """Return `visible` text, with escapes for what stdout cannot hold, so that its width in a table is known."""
    encoding = _stdout_encoding()
    return visible(text).encode(encoding, "backslashreplace").decode(encoding)


def _stdout_encoding() -> str:
    return codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name


class VisibleFormatter(logging.Formatter):
    """Formats log lines that are safe to print."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message, with its line ends and tabs."""
        return visible(super().formatMessage(record), keep="\n\t")


def rich_console(stream: TextIO, **arguments: Any) -> Any:
    """Return a rich Console without markup and emoji codes."""
    from rich.console import Console

    return Console(file=stream, markup=False, emoji=False, highlight=False, **arguments)


def print_tables(*tables: Any) -> None:
    """Print rich tables on stdout without truncating any: a table may be wider than the terminal."""
    from rich.measure import Measurement

    for table in tables:
        console = rich_console(sys.stdout, width=None if sys.stdout.isatty() else _TABLE_WIDTH)
        needed = Measurement.get(console, console.options.update_width(_ANY_WIDTH), table).minimum
        console.width = max(console.width, needed)
        console.print(table)
