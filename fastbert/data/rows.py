"""One row of data, and the columns of a file that hold it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

from fastbert.runtime.errors import DataError

COLUMNS = ("label", "text", "text_a", "text_b")
_NAMES_SHOWN = 20
_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell one; UTF-8, and so a tokenizer, cannot
_repr = Repr()
_repr.maxstring = _repr.maxother = 80


@dataclass(frozen=True)
class Row:
    """One text or pair of texts, with its label's name if it is known."""

    text: str
    text_pair: str | None = None
    label: str | None = None

    @property
    def text_input(self) -> str | tuple[str, str]:
        """The text or the pair, in the form that a `fastbert.runtime.Classifier` takes."""
        return self.text if self.text_pair is None else (self.text, self.text_pair)


@dataclass(frozen=True, repr=False)
class Unusable:
    """A value that can be neither text nor label; its ``repr`` is for messages."""

    value: Any
    kind: str

    def __repr__(self) -> str:
        try:
            shown = str(self.value)[:80]
        except Exception:  # pyarrow needs pandas to print nanoseconds
            shown = "..."
        return f"{shown} of type {self.kind[:80]}"


class BadRow(Exception):
    """What is wrong with a row. The caller that reads the file adds its name and the line."""


def short_repr(value: Any) -> str:
    """Return a value for a message, whatever its size and depth."""
    return _repr.repr(value)


def has_surrogate(text: str) -> bool:
    """Whether a text has an unpaired surrogate, so that it is not valid Unicode."""
    return _SURROGATE.search(text) is not None


def folded(name: str) -> str:
    """Return a column's name without the differences that do not count: case, and white space around it."""
    return name.strip().lower()


def column_names(where: str, names: Sequence[str]) -> list[str]:
    """Return the name in `COLUMNS` of each of a file's columns, in the file's order.

    :param where: file and place, for messages.
    :raises DataError: a name is unknown or repeated, or no column holds texts.
    """
    columns = [folded(name) for name in names]
    unknown = [name for name, column in zip(names, columns, strict=True) if column not in COLUMNS]
    repeated = [column for column in COLUMNS if columns.count(column) > 1]
    if unknown:
        problem = f"unknown column {unknown[0]!r:.80}"
    elif repeated:
        problem = f"two columns {repeated[0]!r}"
    elif "text_b" in columns and "text_a" not in columns:
        problem = "a column 'text_b' without 'text_a'"
    elif "text" in columns and "text_a" in columns:
        problem = "both 'text' and 'text_a'"
    elif "text" not in columns and "text_a" not in columns:
        problem = "no column 'text'"
    else:
        return columns
    found = ", ".join(f"{name!r:.80}" for name in names[:_NAMES_SHOWN]) or "none"
    found += ", ..." if len(names) > _NAMES_SHOWN else ""
    raise DataError(
        f"{where}: {problem}; found {found}. "
        "Expected label, text or label, text_a, text_b (label may be absent from unlabelled files)."
    )
