"""Data files and stdin as rows. The columns are ``label`` and ``text``, or ``label``, ``text_a`` and ``text_b``.

White space around a label and around a column's name does not count. Every error names the file and the line. Only
``.parquet`` needs more than the standard library: pyarrow.
"""

import random
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fastbert.data.formats import READERS, file_lines
from fastbert.data.label_column import LabelColumn
from fastbert.data.lines import reading, utf8_lines
from fastbert.data.parquet import parquet_records
from fastbert.data.rows import BadRow, Row, has_surrogate, short_repr
from fastbert.runtime.errors import DataError

T = TypeVar("T")
_INTEGER = re.compile("-?[0-9]{1,18}")


def read_rows(
    path: str | Path,
    *,
    labels: Sequence[str] | None = None,
    require_label: bool = False,
    partly_labelled: bool = False,
) -> list[Row]:
    """Read a whole labelled data file. The ending of its name gives the format.

    ``.tsv``, ``.csv``: a header with the columns above, in any case. A ``.tsv`` whose first line has none of these
    names is the headerless ``label<TAB>text`` of the original FastBERT code. ``.jsonl``: one object per line.
    ``.parquet``: class names and categories stored in the file are the labels. ``.txt``: one text per line, no labels.

    :param labels: the labels allowed; None: any.
    :param require_label: refuse a file without a ``label`` column.
    :param partly_labelled: accept rows without a usable label among rows that have one.
    :raises DataError: no such file, an unknown ending or column, a wrong field count, bytes that are not UTF-8, a label
        that is not allowed, or no rows.
    """
    column = LabelColumn(path, labels, required=require_label, partly=partly_labelled)
    rows = _not_empty(path, _iter_rows(path, column.read))
    if not partly_labelled and len({row.label is None for row in rows}) > 1:
        first = next(index for index, row in enumerate(rows) if row.label is None)
        raise DataError(f"{path}: row {first + 1} has no label, others have one. Give every row a label, or none.")
    return rows


def read_texts(path: str | Path, *, labels: Sequence[str] = ()) -> list[Row]:
    """Read a whole data file for its texts; formats and errors as in `read_rows`, except that any label is accepted.

    :param labels: a row keeps its label if it is one of these.
    """
    return _not_empty(path, iter_texts(path, labels=labels))


def iter_texts(path: str | Path, *, labels: Sequence[str] = ()) -> Iterator[Row]:
    """Yield rows as `read_texts` reads them, in bounded memory. The file may be a pipe, and may have no rows."""
    return _iter_rows(path, LabelColumn(path, labels).find)


def iter_inputs(path: Path | None) -> Iterator[str | tuple[str, str]]:
    """Yield texts and pairs for a `fastbert.runtime.Classifier`, in bounded memory.

    :param path: a data file. One text per line if its name has no ending, such as a pipe's, and for None, stdin.
    :raises DataError: as `read_rows` does, or stdin is closed.
    """
    if path is not None and path.suffix:
        yield from (row.text_input for row in iter_texts(path))
    elif path is not None:
        yield from (text for _, text in file_lines(path))
    elif sys.stdin is None:  # closed by the parent process
        raise DataError("stdin is closed, so no texts can be read from it. Name texts or a `file`.")
    else:
        with reading("stdin"):
            yield from (text for _, text in utf8_lines(sys.stdin.buffer, "stdin"))


def with_labels(rows: Iterable[Row], labels: Sequence[str], path: str | Path) -> list[Row]:
    """Check the labels of rows that were read before the allowed labels were known, and spell them as these are.

    :raises DataError: a label is not one of these.
    """
    column = LabelColumn(path, labels)
    return [
        Row(row.text, row.text_pair, _located(path, "row", number, column.read, row.label))
        for number, row in enumerate(rows, start=1)
    ]


def label_names(rows: Iterable[Row], path: str | Path) -> list[str]:
    """Return the distinct labels: integers in numeric order, otherwise names in alphabetic order.

    :raises DataError: there are fewer than two.
    """
    names = {row.label for row in rows if row.label is not None}
    if len(names) < 2:
        raise DataError(
            f"{path} has only the label {', '.join(map(repr, names)) or '(none)'}; a classifier needs two or more."
        )
    return sorted(names, key=lambda name: (0, int(name), name) if _INTEGER.fullmatch(name) else (1, 0, name))


def sample(rows: Sequence[T], count: int | None, *, seed: int) -> list[T]:
    """Draw ``count`` rows at random without replacement. None, or more than there are: all, in order."""
    if count is None or count >= len(rows):
        return list(rows)
    return random.Random(seed).sample(list(rows), count)


def _not_empty(path: str | Path, rows: Iterable[Row]) -> list[Row]:
    listed = list(rows)
    if not listed:
        raise DataError(f"{path} has no rows.")
    return listed


def _iter_rows(path: str | Path, label: Callable[[Any], str | None]) -> Iterator[Row]:
    path = Path(path)
    _check_file(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        ending = f"files that end in {path.suffix!r}" if path.suffix else "files without an ending"
        raise DataError(f"{path}: {ending} are not supported; use {', '.join(READERS)}.")
    unit = "row" if reader is parquet_records else "line"
    for number, record in reader(path):
        yield _located(path, unit, number, _row, record, label)


def _located(path: str | Path, unit: str, number: int, read: Callable[..., T], *values: Any) -> T:
    """Call ``read`` on values; what is wrong with them is an error that names the place."""
    try:
        return read(*values)
    except BadRow as error:
        raise DataError(f"{path}, {unit} {number}: {error}") from None


def _check_file(path: Path) -> None:
    try:
        with reading(path):
            mode = path.stat().st_mode
    except ValueError as error:  # a name that no file can have
        raise DataError(f"The data file {str(path)!r} cannot be read: {error}.") from error
    if stat.S_ISDIR(mode):
        raise DataError(f"{path} is a directory; name a data file ({', '.join(READERS)}).")


def _row(record: dict[str, Any], label: Callable[[Any], str | None]) -> Row:
    text_column = "text" if "text" in record else "text_a"
    text, pair = record[text_column], record.get("text_b")
    for column, value in ((text_column, text), ("text_b", pair)):
        if not isinstance(value, str):
            if column == "text_b" and value is None:
                continue
            raise BadRow(f"column {column!r} holds {short_repr(value)}, not a text.")
        if has_surrogate(value):
            raise BadRow(f"column {column!r} has an unpaired surrogate, so it is not valid Unicode.")
    return Row(text, pair, label(record.get("label")))
