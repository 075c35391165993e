"""The formats of data files: each reader yields (line or row number from 1, column -> value).

Lines end at "\\n" only: other Unicode line ends (U+2028, U+0085) are ordinary characters inside a text. Quotes in TSV
are ordinary characters too. A blank line is not a row, except in ``.txt`` and in a TSV of one column, where it is an
empty text.
"""

import csv
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fastbert.data.lines import open_data, utf8_lines
from fastbert.data.parquet import parquet_records
from fastbert.data.rows import COLUMNS, BadRow, Unusable, column_names, folded, short_repr
from fastbert.runtime.errors import DataError

_log = logging.getLogger(__name__)
_FIELD_LIMIT = 10**8  # characters in a CSV field; a longer one is an unclosed quote
_SEPARATOR = re.compile('"?sep=(.)"?')  # a first line for spreadsheets, which says how the fields are separated


def file_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file with their numbers; errors as in `open_data` and `utf8_lines`."""
    with open_data(path) as file:
        yield from utf8_lines(file, path)


def _tsv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    columns: list[str] = []
    for number, line in file_lines(path):
        if (number == 1 and _names_separator(path, line, "\t")) or (not line and len(columns) != 1):
            continue
        fields = line.split("\t")
        if not columns:
            if {folded(field) for field in fields} & set(COLUMNS):
                columns = column_names(f"{path}, line {number}", fields)
                continue
            if {folded(field.strip().strip("\"'")) for field in fields} & set(COLUMNS):
                raise DataError(
                    f"{path}, line {number}: the header is in quotes, which .tsv takes literally in names and texts. "
                    "Write it without quotes, or save the file as .csv."
                )
            columns = ["label", "text"]
            _log.info("%s has no header (label, text): its first line is read as a row, labelled %r.", path, fields[0])
        if len(fields) != len(columns):
            raise DataError(f"{path}, line {number}: {_count(fields)}, expected {len(columns)} ({', '.join(columns)}).")
        yield number, dict(zip(columns, fields, strict=True))


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if csv.field_size_limit() < _FIELD_LIMIT:  # global to the process: only ever raised, so threads cannot disagree
        csv.field_size_limit(_FIELD_LIMIT)
    lines_read = 0

    def lines() -> Iterator[str]:
        nonlocal lines_read
        for lines_read, line in file_lines(path):
            if lines_read > 1 or not _names_separator(path, line, ","):
                yield line + "\n"

    columns: list[str] = []
    reader = csv.reader(lines(), strict=True)
    while True:
        first = lines_read + 1  # line of the record: a quoted field may hold line ends
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
                "Put a text with a comma in quotes."
            )
        else:
            yield first, dict(zip(columns, fields, strict=True))


def _csv_problem(error: str) -> str:
    if "unexpected end of data" in error:
        return "a quote that opens here is not closed. Write a quote inside a text twice."
    if "field larger" in error:
        return f"a field of more than {csv.field_size_limit()} characters; is a quote not closed?"
    if "new-line" in error:
        return 'there is a carriage return without a line feed outside quotes. End lines with "\\n" or "\\r\\n".'
    return f"{error}. Put a text with a quote in quotes, and write the quote in it twice."


def _names_separator(path: Path, line: str, separator: str) -> bool:
    """Return whether a first line only says how the fields are separated.

    :raises DataError: it names another separator than this format has.
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
    known: dict[tuple[str, ...], list[str]] = {}  # most lines have the same names
    for number, line in file_lines(path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = decoder.decode(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not valid JSON: {error.msg} (character {error.pos + 1}).") from error
        except RecursionError as error:
            raise DataError(f"{where}: objects and lists are nested too deeply to be a row.") from error
        except BadRow as error:
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
    except ValueError:  # Python refuses integers of thousands of digits
        return Unusable(digits, f"number with {len(digits)} digits")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise BadRow(f"the name {short_repr(repeated)} is repeated in an object.")
    return record


def _txt(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in file_lines(path):
        yield number, {"text": line}


def _count(fields: Sequence[str]) -> str:
    return f"{len(fields)} field{'' if len(fields) == 1 else 's'}"


# by the ending of the file's name
READERS: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]] = {
    ".tsv": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": parquet_records,
    ".txt": _txt,
}
