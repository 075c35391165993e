"""Comma-separated values and speeds on the command line, one parser for all."""

from collections.abc import Callable, Sequence
from typing import Any

import typer


def numbers(kind: type[int] | type[float] = float) -> Callable[[str], Any]:
    """Return a parser of comma-separated numbers, without repetitions: text -> tuple of ``kind``."""
    what = "whole numbers" if kind is int else "numbers"

    def parse(text: str) -> Any:
        try:
            return tuple(dict.fromkeys(kind(part) for part in text.split(",")))
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a comma-separated list of {what}.") from None

    return parse


def speed(text: str) -> Any:
    """Parse a speed: text -> float, or the name of an operating point, which is a string."""
    try:
        return float(text)
    except ValueError:
        if not text.strip()[:1].isalpha():
            raise typer.BadParameter(f"{text!r} is neither a number nor the name of an operating point.") from None
        return text.strip()


def speeds(text: str) -> Any:
    """Parse comma-separated speeds, without repetitions: text -> tuple of what `speed` returns."""
    return tuple(dict.fromkeys(speed(part) for part in text.split(",")))


def names(known: Sequence[str]) -> Callable[[str], Any]:
    """Return a parser of comma-separated names, without repetitions: text -> tuple.

    :param known: the names that are allowed; empty: any.
    """

    def parse(text: str) -> Any:
        found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
        for name in found:
            if known and name not in known:
                raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}.")
        return found

    return parse


def completion(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what completes the last of comma-separated names in a shell."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in known if name.startswith(last)]

    return complete
