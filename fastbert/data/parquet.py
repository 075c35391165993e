"""Rows of Parquet files: read with pyarrow itself, in bounded memory, with nothing written anywhere.

`datasets` would copy the file into a cache that is found again by name and time, and take a name for a pattern.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastbert.data.lines import open_data
from fastbert.data.rows import Unusable, column_names
from fastbert.runtime.errors import DataError, MissingDependencyError

__all__ = ["parquet_records"]

_BATCH = 64  # rows made Python objects at once: texts may be long
_BUFFER = 1 << 20  # bytes read at once of a column; without it the column of a whole row group is
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # the index that to_parquet adds to a filtered or shuffled frame


def parquet_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, column -> value): str, int, None, or an `Unusable`.

    Class names that `datasets` keeps in the file's metadata stand for the numbers in the column; -1 is no label.
    Dictionary columns, such as the categoricals of pandas, are their values.

    :raises DataError: no Parquet, damaged, other columns than ours, or a column of texts that holds something else.
    :raises MissingDependencyError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "data") from error
    number = 0
    with open_data(path) as stream:
        if not stream.seekable():
            raise DataError(f"{path} is a pipe; Parquet is read from its end, so save it to a file.")
        try:
            file = ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
            schema = file.schema_arrow
            names = [name for name in schema.names if not _PANDAS_INDEX.fullmatch(name)]
            columns = column_names(str(path), names)
            for name, column in zip(names, columns, strict=True):
                if column != "label" and not _is_text(kind := schema.field(name).type) and not pa.types.is_null(kind):
                    raise DataError(f"{path}: column {name!r} is of type {kind}; expected texts (string).")
            classes = _class_names(schema.metadata, names, columns)
            # threads of pyarrow's would not outlive a fork of the process that reads
            for batch in file.iter_batches(_BATCH, columns=names, use_threads=False):
                values = [_values(batch.column(name)) for name in names]
                if classes is not None:
                    index = columns.index("label")
                    values[index] = [_named(value, classes) for value in values[index]]
                for record in zip(*values, strict=True):
                    number += 1
                    yield number, dict(zip(columns, record, strict=True))
        except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
            place = f" after row {number}" if number else ""
            raise DataError(
                f"{path} is no readable Parquet file{place}: {' '.join(str(error).split())[:300]}"
            ) from error


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _values(column: Any) -> list[Any]:
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        return [Unusable(value, str(kind)) if value.is_valid else None for value in column]
    try:
        return column.to_pylist()
    except UnicodeDecodeError:  # pyarrow takes a writer's word for UTF-8
        return [_decoded(value) for value in column]


def _decoded(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return Unusable("bytes that are not UTF-8", str(value.type))


def _class_names(metadata: Any, names: list[str], columns: list[str]) -> list[str] | None:
    """Return the names of the classes that `datasets` wrote into the file's metadata; None: there are none.

    :returns: empty where they cannot be read, so that no number is taken for a label of its own.
    """
    if "label" not in columns or b"huggingface" not in (metadata or {}):
        return None
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][names[columns.index("label")]]
    except (KeyError, TypeError):  # another program's, or without this column
        return None
    except (ValueError, RecursionError):
        return []
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    classes = feature.get("names")
    return classes if isinstance(classes, list) and all(isinstance(name, str) for name in classes) else []


def _named(value: Any, classes: list[str]) -> Any:
    if not isinstance(value, int):
        return value
    if value == -1:
        return None
    if not 0 <= value < len(classes):
        return Unusable(value, f"ClassLabel with {len(classes)} names")
    return classes[value]
