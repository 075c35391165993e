"""Data files: TSV, CSV, JSONL, Parquet, plain text; columns ``label`` and ``text`` (or ``text_a``, ``text_b``).

Lines end at "\\n" only: other Unicode line ends (U+2028, U+0085) are ordinary characters inside a text. TSV is never
unquoted. A blank line is no row, but in ``.txt`` and in a TSV of one column, where it is an empty text. White space
around a label, and around a column's name, is not part of it. Every error names the file and the line.

Reading needs neither `datasets` nor pyarrow, but for ``.parquet``.
"""

import csv
import json
import logging
import random
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from reprlib import Repr
from typing import Any, TypeVar

from fastbert.data.lines import open_data, reading, utf8_lines
from fastbert.data.parquet import parquet_records
from fastbert.data.rows import COLUMNS, Row, Unusable, column_names, folded
from fastbert.runtime.errors import DataError

__all__ = ["iter_texts", "label_names", "read_rows", "read_texts", "sample", "with_labels"]

T = TypeVar("T")
_log = logging.getLogger(__name__)
_FIELD_LIMIT = 10**8  # characters in a CSV field; more is a quote that nobody closed
_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell one; UTF-8, and so a tokenizer, cannot
_INTEGER = re.compile("-?[0-9]{1,18}")
_SEPARATOR = re.compile('"?sep=(.)"?')  # a first line that tells a spreadsheet how to read the others
_short = Repr()  # values in messages: they may be of any size and depth
_short.maxstring = _short.maxother = 80


def read_rows(
    path: str | Path,
    *,
    labels: Sequence[str] | None = None,
    require_label: bool = False,
    partly_labelled: bool = False,
) -> list[Row]:
    """Read a labelled data file whole; its ending names its format.

    ``.tsv``, ``.csv``: a header with the columns above, in any case; a ``.tsv`` whose first line holds none of these
    names is read as the original FastBERT code's ``label<TAB>text`` without a header. ``.jsonl``: an object a line.
    ``.parquet``: class names and categories stored in the file are the labels. ``.txt``: a text a line, no labels.

    :param labels: the labels allowed; None: any.
    :param require_label: refuse a file without a ``label`` column.
    :param partly_labelled: rows without a label, or with what can be none, may stand among rows that have one.
    :raises DataError: no such file, unknown ending or column, wrong field count, bad UTF-8, label not allowed, no rows.
    """
    column = _Labels(path, labels, required=require_label, partly=partly_labelled)
    rows = _some(path, _iter_rows(path, column.read))
    if not partly_labelled and len({row.label is None for row in rows}) > 1:
        first = next(index for index, row in enumerate(rows) if row.label is None)
        raise DataError(f"{path}: row {first + 1} has no label, others have one. Give every row a label, or none.")
    return rows


def read_texts(path: str | Path, *, labels: Sequence[str] = ()) -> list[Row]:
    """Read a data file whole whose labels are not needed; formats and errors as in `read_rows`, but for labels.

    :param labels: a row keeps a label that is one of these; whatever else its label column holds is left out.
    """
    return _some(path, iter_texts(path, labels=labels))


def iter_texts(path: str | Path, *, labels: Sequence[str] = ()) -> Iterator[Row]:
    """Read a data file row by row, in bounded memory; it may be a pipe, and have no rows. Otherwise as `read_texts`."""
    return _iter_rows(path, _Labels(path, labels).find)


def with_labels(rows: Iterable[Row], labels: Sequence[str], path: str | Path) -> list[Row]:
    """Return rows that were read before the labels allowed were known, with labels as these are written.

    :raises DataError: a label is none of these.
    """
    column = _Labels(path, labels)
    return [
        Row(row.text, row.text_pair, _placed(path, "row", number, column.read, row.label))
        for number, row in enumerate(rows, start=1)
    ]


def label_names(rows: Iterable[Row], path: str | Path) -> list[str]:
    """Return the distinct labels: integers in numeric order, otherwise names in alphabetic order.

    :raises DataError: fewer than two.
    """
    names = {row.label for row in rows if row.label is not None}
    if len(names) < 2:
        raise DataError(
            f"{path} has only the label {', '.join(map(repr, names)) or '(none)'}; a classifier needs two or more."
        )
    return sorted(names, key=lambda name: (0, int(name), name) if _INTEGER.fullmatch(name) else (1, 0, name))


def sample(rows: Sequence[T], count: int | None, *, seed: int) -> list[T]:
    """Draw ``count`` rows at random without replacement; None, or more than there are: all, in order."""
    if count is None or count >= len(rows):
        return list(rows)
    return random.Random(seed).sample(list(rows), count)


class _BadRow(Exception):
    """What is wrong with a row; who reads the file knows where it stands."""


class _Labels:
    """Turns what the label column of one file holds into labels."""

    def __init__(
        self,
        path: str | Path,
        allowed: Sequence[str] | None,
        *,
        required: bool = False,
        partly: bool = False,
    ) -> None:
        self.path = path
        # as the model writes them, found with and without the white space around them
        self.allowed: dict[str, str] | None = None
        if allowed is not None:
            self.allowed = {label.strip(): label for label in allowed} | {label: label for label in allowed}
        self.required = required
        self.partly = partly
        self.written: dict[str, str] = {}  # label -> how it was written first
        self.said: set[str] = set()

    def read(self, value: Any) -> str | None:
        """Return the label of a row, or None.

        :raises _BadRow: it cannot be one, is not allowed, or is missing and required.
        """
        if value is None:
            if self.required:
                raise _BadRow("there is no label; every row of this file needs one, in a column 'label'.")
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            problem = f"the label {_short.repr(value)} is neither a name nor an integer"
            if not self.partly:
                raise _BadRow(f"{problem}; write it as one.")
            self._say_once("%s: %s; such rows count as rows without one.", self.path, problem)
            return None
        written = str(value)
        label = written.strip()
        if not label:
            if self.partly:
                return None
            raise _BadRow("the label is empty.")
        if _SURROGATE.search(label):
            raise _BadRow("column 'label' holds half a character (a lone surrogate).")
        if self.allowed is not None:
            known = self.allowed.get(written, self.allowed.get(label))
            if known is None:
                raise _BadRow(f"the label {_short.repr(label)} is not among those trained on: {_listed(self.allowed)}.")
            label = known
        first = self.written.setdefault(label, written)
        if first != written:
            message = "%s: the labels %r and %r differ only in white space around them, and count as one."
            self._say_once(message, self.path, first, written)
        return label

    def find(self, value: Any) -> str | None:
        """Return the label of a row if it is one of those allowed; anything else counts as none."""
        if not self.allowed or isinstance(value, bool) or not isinstance(value, str | int):
            return None
        return self.allowed.get(str(value), self.allowed.get(str(value).strip()))

    def _say_once(self, message: str, *values: Any) -> None:
        if message not in self.said:
            self.said.add(message)
            _log.warning(message, *values)


def _listed(labels: Iterable[str]) -> str:
    names = sorted({label.strip() for label in labels})
    return ", ".join(name[:80] for name in names[:50]) + (f" and {len(names) - 50} more" if len(names) > 50 else "")


def _some(path: str | Path, rows: Iterable[Row]) -> list[Row]:
    found = list(rows)
    if not found:
        raise DataError(f"{path} has no rows.")
    return found


def _iter_rows(path: str | Path, label: Callable[[Any], str | None]) -> Iterator[Row]:
    path = Path(path)
    _check_file(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        ending = f"files that end in {path.suffix!r}" if path.suffix else "files whose names have no ending"
        raise DataError(f"{path}: {ending} are unknown; use {', '.join(_READERS)}.")
    unit = "row" if reader is parquet_records else "line"
    for number, record in reader(path):
        yield _placed(path, unit, number, _row, record, label)


def _placed(path: str | Path, unit: str, number: int, read: Callable[..., T], *values: Any) -> T:
    try:
        return read(*values)
    except _BadRow as error:
        raise DataError(f"{path}, {unit} {number}: {error}") from None


def _check_file(path: Path) -> None:
    try:
        with reading(path):
            mode = path.stat().st_mode
    except ValueError as error:  # a name that no file can have
        raise DataError(f"The data file {str(path)!r} cannot be read: {error}.") from error
    if stat.S_ISDIR(mode):
        raise DataError(f"{path} is a directory; name a data file ({', '.join(_READERS)}).")


def _row(record: dict[str, Any], label: Callable[[Any], str | None]) -> Row:
    text_column = "text" if "text" in record else "text_a"
    text, pair = record[text_column], record.get("text_b")
    for column, value in ((text_column, text), ("text_b", pair)):
        if not isinstance(value, str):
            if column == "text_b" and value is None:
                continue
            raise _BadRow(f"column {column!r} holds {_short.repr(value)}, not a text.")
        if _SURROGATE.search(value):
            raise _BadRow(f"column {column!r} holds half a character (a lone surrogate).")
    return Row(text, pair, label(record.get("label")))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with open_data(path) as file:
        yield from utf8_lines(file, path)


def _tsv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    columns: list[str] = []
    for number, line in _lines(path):
        if (number == 1 and _names_separator(path, line, "\t")) or (not line and len(columns) != 1):
            continue
        fields = line.split("\t")
        if not columns:
            if {folded(field) for field in fields} & set(COLUMNS):
                columns = column_names(f"{path}, line {number}", fields)
                continue
            if {folded(field.strip().strip("\"'")) for field in fields} & set(COLUMNS):
                raise DataError(
                    f"{path}, line {number}: the header stands in quotes, which are part of the names and of the texts "
                    "in .tsv. Write it without quotes, or save it as .csv."
                )
            columns = ["label", "text"]
            _log.info("%s has no header (label, text): its first line is read as a row, labelled %r.", path, fields[0])
        if len(fields) != len(columns):
            raise DataError(f"{path}, line {number}: {_count(fields)}, expected {len(columns)} ({', '.join(columns)}).")
        yield number, dict(zip(columns, fields, strict=True))


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if csv.field_size_limit() < _FIELD_LIMIT:  # the process has one: only ever raised, so threads cannot disagree
        csv.field_size_limit(_FIELD_LIMIT)
    read = 0  # lines

    def lines() -> Iterator[str]:
        nonlocal read
        for read, line in _lines(path):
            if read > 1 or not _names_separator(path, line, ","):
                yield line + "\n"

    columns: list[str] = []
    reader = csv.reader(lines(), strict=True)
    while True:
        first = read + 1  # of the record: a quoted field may hold line ends
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path}, line {first}: not valid CSV: {_csv_problem(str(error))}") from error
        if fields is None:
            return
        if not fields:
            continue
        if not columns:
            columns = column_names(f"{path}, line {first}", fields)
        elif len(fields) != len(columns):
            raise DataError(
                f"{path}, line {first}: {_count(fields)}, expected {len(columns)} ({', '.join(columns)}). "
                "A text that holds a comma stands in quotes."
            )
        else:
            yield first, dict(zip(columns, fields, strict=True))


def _csv_problem(error: str) -> str:
    if "unexpected end of data" in error:
        return "a quote that opens here is not closed. A quote inside a text is written twice."
    if "field larger" in error:
        return f"a field of more than {csv.field_size_limit()} characters; is a quote not closed?"
    if "new-line" in error:
        return 'a carriage return without a line feed stands outside quotes. End lines with "\\n" or "\\r\\n".'
    return f"{error}. A text that holds a quote stands in quotes, and the quote in it is written twice."


def _names_separator(path: Path, line: str, separator: str) -> bool:
    """Tell whether a first line only says what separates fields.

    :raises DataError: it says something else than this format has.
    """
    named = _SEPARATOR.fullmatch(line)
    if named is not None and named[1] != separator:
        raise DataError(
            f"{path}, line 1: fields are separated by {named[1]!r}; {path.suffix.lower()} needs {separator!r}. "
            "Save the file with that."
        )
    return named is not None


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)
    known: dict[tuple[str, ...], list[str]] = {}  # lines of a file have the same few sets of names
    for number, line in _lines(path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = decoder.decode(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not valid JSON: {error.msg} (character {error.pos + 1}).") from error
        except RecursionError as error:
            raise DataError(f"{where}: no row: objects and lists are nested too deeply.") from error
        except _BadRow as error:
            raise DataError(f"{where}: {error}") from None
        if not isinstance(record, dict):
            raise DataError(f"{where}: expected a JSON object, found {type(record).__name__}.")
        names = tuple(record)
        if names not in known:
            known[names] = column_names(where, names)
        yield number, dict(zip(known[names], record.values(), strict=True))


def _integer(digits: str) -> int | Unusable:
    try:
        return int(digits)
    except ValueError:  # Python makes no integer of thousands of digits
        return Unusable(digits, f"number with {len(digits)} digits")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _BadRow(f"the name {_short.repr(twice)} stands twice in an object.")
    return record


def _txt(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        yield number, {"text": line}


def _count(fields: Sequence[str]) -> str:
    return f"{len(fields)} field{'' if len(fields) == 1 else 's'}"


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]] = {
    ".tsv": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": parquet_records,
    ".txt": _txt,
}
