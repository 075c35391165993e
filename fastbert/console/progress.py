"""A progress bar on stderr, for answers that go to a file."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from fastbert.console.streams import rich_console

_Item = TypeVar("_Item")


def with_progress(items: Iterator[_Item], file: Path | None) -> Iterator[_Item]:
    """Yield the items and show, on a terminal, how many are done and how many per second.

    :param file: that the items come from. Without one, or with stdout on the terminal, nothing is shown.
    """
    if file is None or not sys.stderr.isatty() or sys.stdout.isatty():
        yield from items
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    total = None  # unknown: a pipe can be read only once, and Parquet has no lines
    if file.is_file() and file.suffix.lower() != ".parquet":
        with file.open("rb") as lines:
            total = sum(1 for _ in lines)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
    # redirect_stdout would print on stderr what goes to stdout
    with Progress(*columns, console=rich_console(sys.stderr), redirect_stdout=False) as progress:
        task = progress.add_task("", total=total, rate="")
        for item in items:
            yield item
            speed = progress.tasks[0].speed  # None before the second item
            progress.update(task, advance=1, rate="" if speed is None else f"{speed:.0f} rows/s")
