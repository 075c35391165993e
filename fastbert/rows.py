"""One row of data."""

from dataclasses import dataclass

__all__ = ["Row"]


@dataclass(frozen=True)
class Row:
    """One text or pair of texts, with its label's name if it is known."""

    text: str
    text_pair: str | None = None
    label: str | None = None
