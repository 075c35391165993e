"""One row of data, and the columns of a file that hold it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastbert.runtime.errors import DataError

__all__ = ["COLUMNS", "Row", "Unusable", "column_names", "folded"]

COLUMNS = ("label", "text", "text_a", "text_b")
_SHOWN = 20  # names in a message


@dataclass(frozen=True)
class Row:
    """One text or pair of texts, with its label's name if it is known."""

    text: str
    text_pair: str | None = None
    label: str | None = None

    @property
    def text_input(self) -> str | tuple[str, str]:
        """The text or the pair as a `fastbert.runtime.Classifier` takes it."""
        return self.text if self.text_pair is None else (self.text, self.text_pair)


@dataclass(frozen=True, repr=False)
class Unusable:
    """A value that can be neither text nor label; its ``repr`` is for messages."""

    value: Any
    kind: str

    def __repr__(self) -> str:
        try:
            shown = str(self.value)[:80]
        except Exception:  # pyarrow shows nanoseconds with pandas only
            shown = "..."
        return f"{shown} of type {self.kind[:80]}"


def folded(name: str) -> str:
    """Return a column's name as it is compared: capitals and white space around it are nobody's intention."""
    return name.strip().lower()


def column_names(where: str, names: Sequence[str]) -> list[str]:
    """Return the names of `COLUMNS` that a file's own names stand for, in its order.

    :param where: file and place, for messages.
    :raises DataError: a name is unknown or stands twice, or no column holds texts.
    """
    columns = [folded(name) for name in names]
    unknown = [name for name, column in zip(names, columns, strict=True) if column not in COLUMNS]
    texts = {"text", "text_a"} & set(columns)
    if unknown:
        problem = f"unknown column {unknown[0]!r:.80}"
    elif "text_b" in columns and "text_a" not in columns:
        problem = "a column 'text_b' without 'text_a'"
    elif not texts:
        problem = "no column 'text'"
    elif len(texts) > 1 or len(set(columns)) < len(columns):
        problem = "columns clash"
    else:
        return columns
    found = ", ".join(f"{name!r:.80}" for name in names[:_SHOWN]) or "none"
    found += ", ..." if len(names) > _SHOWN else ""
    raise DataError(
        f"{where}: {problem}; found {found}. "
        "Expected label, text or label, text_a, text_b (label may be absent from unlabelled files)."
    )
