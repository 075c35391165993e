"""Rows of Parquet files, read with pyarrow in bounded memory.

Not with `datasets`, which copies a file into a cache keyed by its name and time, and takes some names for patterns.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastbert.data.lines import open_data
from fastbert.data.rows import Unusable, column_names
from fastbert.runtime.errors import DataError, MissingDependencyError

_BATCH = 64  # rows converted to Python objects at once: texts may be long
_BUFFER = 1 << 20  # bytes of a column read at once; without it, all those of a row group
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # the index that to_parquet adds to a filtered or shuffled frame


def parquet_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, column -> value): str, int, None, or an `Unusable`.

    Where `datasets` has stored class names in the file's metadata, a number is the name of its class, and -1 means no
    label. A dictionary column, such as a categorical of pandas, gives its values.

    :raises DataError: the file is not Parquet or is damaged, or a column is unknown or has the wrong type.
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
            raise DataError(f"{path} is a pipe; Parquet is read from its end. Save it to a file.")
        try:
            file = ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
            schema = file.schema_arrow
            names = [name for name in schema.names if not _PANDAS_INDEX.fullmatch(name)]
            columns = column_names(str(path), names)
            for name, column in zip(names, columns, strict=True):
                if column != "label" and not _is_text(kind := schema.field(name).type) and not pa.types.is_null(kind):
                    raise DataError(f"{path}: column {name!r} is of type {kind}; expected texts (string).")
            classes = _class_names(schema.metadata, names, columns)
            # pyarrow's threads do not survive a fork of this process
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
                f"{path} is not a readable Parquet file{place}: {' '.join(str(error).split())[:300]}"
            ) from error


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _values(column: Any) -> list[Any]:
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        return [Unusable(value, str(kind)) if value.is_valid else None for value in column]
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:  # pyarrow trusts the writer that texts are UTF-8
        return [_decoded(value) for value in column]


def _decoded(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return Unusable("bytes that are not UTF-8", str(value.type))


def _class_names(metadata: Any, names: list[str], columns: list[str]) -> list[str] | None:
    """Return the class names that `datasets` stored in the file's metadata; None: it stored none.

    :returns: empty where they cannot be read, so that numbers are not mistaken for labels.
    """
    if "label" not in columns or b"huggingface" not in (metadata or {}):
        return None
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][names[columns.index("label")]]
    except (KeyError, TypeError):  # metadata of another program, or without this column
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
