"""Data files: TSV, CSV, JSONL, Parquet, plain text; columns ``label`` and ``text`` (or ``text_a``, ``text_b``).

Lines end at "\\n" only: other Unicode line ends (U+2028, U+0085) are ordinary characters inside a text. TSV is never
unquoted. Every error names the file and the line.
"""

import csv
import json
import logging
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from datasets import Dataset

from fastbert.rows import Row
from fastbert.runtime.errors import DataError

__all__ = ["iter_rows", "label_names", "read_rows", "read_texts", "sample"]

T = TypeVar("T")
_log = logging.getLogger(__name__)
COLUMNS = ("label", "text", "text_a", "text_b")
_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell one; UTF-8, and so a tokenizer, cannot
_INTEGER = re.compile("-?[0-9]{1,18}")


def read_rows(path: str | Path, *, labels: Sequence[str] | None = None, require_label: bool = False) -> list[Row]:
    """Read a data file whole; its ending names its format.

    ``.tsv``, ``.csv``: a header with the columns above; a ``.tsv`` whose first line holds none of these names is read
    as the original FastBERT code's ``label<TAB>text`` without a header. ``.jsonl``: an object a line. ``.parquet``.
    ``.txt``: a text a line, no labels.

    :param labels: the labels allowed; None: any.
    :param require_label: refuse a file without a ``label`` column.
    :raises DataError: no such file, unknown ending or column, wrong field count, bad UTF-8, label not allowed, no rows.
    """
    rows = list(iter_rows(path, labels=labels, require_label=require_label))
    if not rows:
        raise DataError(f"{path} has no rows.")
    if len({row.label is None for row in rows}) > 1:
        first = next(index for index, row in enumerate(rows) if row.label is None)
        raise DataError(f"{path}: row {first + 1} has no label, others have one. Give every row a label, or none.")
    return rows


def iter_rows(path: str | Path, *, labels: Sequence[str] | None = None, require_label: bool = False) -> Iterator[Row]:
    """Read a data file row by row, in bounded memory (``.parquet`` excepted); otherwise as `read_rows`."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"The data file {path} does not exist.")
    if path.is_dir():
        raise DataError(f"{path} is a directory; name a data file ({', '.join(_READERS)}).")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: files that end in {path.suffix!r} are unknown; use {', '.join(_READERS)}.")
    allowed = None if labels is None else set(labels)
    for line, record in reader(path):
        row = _row(path, line, record)
        if row.label is None and require_label:
            raise DataError(f"{path}, line {line}: there is no label; this file needs a column 'label'.")
        if allowed is not None and row.label is not None and row.label not in allowed:
            raise DataError(
                f"{path}, line {line}: the label {row.label!r} is not among those trained on: "
                f"{', '.join(sorted(allowed))}."
            )
        yield row


def read_texts(path: str | Path) -> list[Row]:
    """Read a file for distillation: labels, if there are any, are left out. Arguments and errors as in `read_rows`."""
    return [Row(row.text, row.text_pair) for row in read_rows(path)]


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


def _row(path: Path, line: int, record: dict[str, Any]) -> Row:
    if "text" in record:
        text, pair = record["text"], None
    else:
        text, pair = record["text_a"], record.get("text_b")
    for column, value in (("text", text), ("text_b", pair)):
        if not isinstance(value, str) and not (column == "text_b" and value is None):
            raise DataError(f"{path}, line {line}: column {column!r} holds {value!r}, not a text.")
    label = record.get("label")
    if isinstance(label, bool) or not (label is None or isinstance(label, str | int)):
        raise DataError(f"{path}, line {line}: the label {label!r} is neither a name nor an integer.")
    if label == "":
        raise DataError(f"{path}, line {line}: the label is empty.")
    for column, value in record.items():
        if isinstance(value, str) and _SURROGATE.search(value):
            raise DataError(f"{path}, line {line}: column {column!r} holds half a character (a lone surrogate).")
    return Row(text, pair, None if label is None else str(label))


def _check_columns(path: Path, line: int, columns: Sequence[str]) -> None:
    unknown = [column for column in columns if column not in COLUMNS]
    has_text = "text" in columns or "text_a" in columns
    if unknown or not has_text or ("text" in columns and "text_a" in columns) or len(set(columns)) < len(columns):
        problem = (
            f"unknown column {unknown[0]!r}" if unknown else "no column 'text'" if not has_text else "columns clash"
        )
        raise DataError(
            f"{path}, line {line}: {problem}; found {', '.join(map(repr, columns))}. "
            "Expected label, text or label, text_a, text_b (label may be absent from unlabelled files)."
        )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of a UTF-8 file; a byte order mark and the "\\r" of "\\r\\n" are dropped."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, line {number}: byte {error.start + 1} (0x{raw[error.start]:02x}) is not UTF-8. "
                    "Convert the file, for example with: iconv -f latin1 -t utf-8"
                ) from error
            yield number, text.removesuffix("\n").removesuffix("\r")


def _tsv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    columns: list[str] = []
    for number, line in _lines(path):
        fields = line.split("\t")
        if number == 1:
            if set(fields) & set(COLUMNS):
                _check_columns(path, 1, fields)
                columns = fields
                continue
            columns = ["label", "text"]
            _log.info("%s has no header (label, text): its first line is read as a row, labelled %r.", path, fields[0])
        if len(fields) != len(columns):
            raise DataError(f"{path}, line {number}: {_count(fields)}, expected {len(columns)} ({', '.join(columns)}).")
        yield number, dict(zip(columns, fields, strict=True))


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader((line + "\n" for _, line in _lines(path)), strict=True)
    try:
        columns = next(reader, [])
        _check_columns(path, 1, columns)
        for fields in reader:
            if len(fields) != len(columns):
                raise DataError(f"{path}, line {reader.line_num}: {_count(fields)}, expected {len(columns)}.")
            yield reader.line_num, dict(zip(columns, fields, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}.") from error


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not valid JSON: {error}.") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object, found {type(record).__name__}.")
        _check_columns(path, number, list(record))
        yield number, record


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        dataset = Dataset.from_parquet(str(path), keep_in_memory=True)
    except Exception as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error
    _check_columns(path, 1, dataset.column_names)
    yield from enumerate(dataset, start=1)


def _txt(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        yield number, {"text": line}


def _count(fields: Sequence[str]) -> str:
    return f"{len(fields)} field{'' if len(fields) == 1 else 's'}"


_READERS = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet, ".txt": _txt}
