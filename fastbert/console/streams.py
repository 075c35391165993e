"""The command line's side of the terminal: standard streams that take any text, and text that is safe to show.

**Encoding**, decided once in `open_streams`: what ``PYTHONIOENCODING`` names, else the locale's; ASCII that nobody
named (the C locale) becomes UTF-8. What the encoding cannot hold is escaped: in JSON as ``\\uXXXX``, elsewhere with a
backslash.

**Errors of stdout** carry its name: a full disk ends a command with one line, a pipe that its reader closed quietly,
both with exit code 1. A closed stdout is refused before any work, since answers would be lost. **stderr** holds notes
alone: what it cannot take (a full disk, a closed descriptor) is lost, and the work goes on.

**What a user named** (labels, paths) may hold anything: `visible` shows what a terminal would obey or hide, and rich's
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

__all__ = [
    "STDOUT",
    "VisibleFormatter",
    "abandon_stdout",
    "json_text",
    "open_streams",
    "print_tables",
    "rich_console",
    "table_cell",
    "utf8_text",
    "visible",
]

STDOUT = "stdout"
_TABLE_WIDTH = 140  # where stdout is not a terminal, which has a width of its own
_ANY_WIDTH = 1_000_000
_JOINERS = "\u200c\u200d"  # in the spelling of Persian and Indian words, and in emoji
# what JSON allows in a string and a terminal or a reader of lines does not: DEL, C1, line ends, bidirectional controls
_NOT_IN_JSON_LINES = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class _Descriptor(io.FileIO):
    """A standard stream that writes all that it is given, also where a pipe is set not to block."""

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        while len(left):
            written = super().write(left)
            if written is None:
                select.select([], [self.fileno()], [])
            else:
                left = left[written:]
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
    """Make stdout and stderr what this module's docstring says; streams that are not this process's own stay.

    :raises OSError: stdout is closed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the next file opened would be taken for stdout
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        raise OSError(errno.EBADF, "closed, so the output would be lost; send it to a file, or to /dev/null", STDOUT)
    sys.stdout = _reopened(sys.stdout, 1, _Stdout)
    sys.stderr = _reopened(sys.stderr, 2, _Stderr)


def _reopened(stream: TextIO, descriptor: int, kind: type[_Descriptor]) -> TextIO:
    try:
        if stream.fileno() != descriptor or not isinstance(stream, io.TextIOWrapper):
            return stream
    except (OSError, ValueError):  # a stream of a test, or of a program that calls us
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(kind(descriptor, "w", closefd=False)),
        encoding=_encoding(stream.encoding),
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )


def _encoding(found: str) -> str:
    named = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    return "utf-8" if codecs.lookup(found).name == "ascii" and not named else found


def abandon_stdout() -> None:
    """Send what is still to be written to nowhere: Python would try it again when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def json_text(document: Any, *, indent: int | None = None) -> str:
    """Return JSON in the characters that stdout can hold, without those that would break a line."""
    ascii_only = not _stdout_encoding().startswith("utf")
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only, default=str)
    return _NOT_IN_JSON_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def visible(text: str, *, keep: str = "") -> str:
    """Show characters that a terminal obeys or hides as escapes, and bytes of a file name that are UTF-8 as characters.

    :param keep: characters to leave alone, such as line ends.
    """
    if text.isprintable():
        return text
    with suppress(UnicodeEncodeError):  # other halves of surrogate pairs: the stream escapes them
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(character if _is_shown(character, keep) else _escaped(character) for character in text)


def utf8_text(argument: str) -> str:
    """Return an argument of the command line as text: Python takes it for ASCII in the C locale without UTF-8 mode."""
    with suppress(UnicodeError):
        return argument.encode("utf-8", "surrogateescape").decode("utf-8")
    return argument


def _is_shown(character: str, keep: str) -> bool:
    return character.isprintable() or character in keep or character in _JOINERS or category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def table_cell(text: str) -> str:
    """Return `visible` text, with escapes for what stdout cannot hold: only so is its width known."""
    encoding = _stdout_encoding()
    return visible(text).encode(encoding, "backslashreplace").decode(encoding)


def _stdout_encoding() -> str:
    return codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name


class VisibleFormatter(logging.Formatter):
    """Log lines that are safe to show."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return visible(super().formatMessage(record), keep="\n\t")


def rich_console(stream: TextIO, **arguments: Any) -> Any:
    """Return a rich Console that takes text as text: no markup, no emoji codes."""
    from rich.console import Console

    return Console(file=stream, markup=False, emoji=False, highlight=False, **arguments)


def print_tables(*tables: Any) -> None:
    """Print rich tables on stdout, none of them cut: one that needs longer lines than a terminal's has them."""
    from rich.measure import Measurement

    for table in tables:
        console = rich_console(sys.stdout, width=None if sys.stdout.isatty() else _TABLE_WIDTH)
        needed = Measurement.get(console, console.options.update_width(_ANY_WIDTH), table).minimum
        console.width = max(console.width, needed)
        console.print(table)
