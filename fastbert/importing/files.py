"""The files beside a checkpoint: its configs, and the files that these name."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastbert.runtime.errors import CheckpointError, UsageError


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    :raises CheckpointError: the file is missing, or it is not a JSON object.
    """
    if not path.is_file():
        raise CheckpointError(f"The config {path} does not exist.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} holds a {type(document).__name__}; a config is a JSON object.")
    return document


def integer(path: Path, document: dict[str, Any], key: str, default: int | None = None) -> int:
    """Return a positive integer of a config.

    :param default: the value if the key is missing; None: the key is required.
    :raises CheckpointError: the value is missing or not a positive integer.
    """
    value = document.get(key, default)
    if value is None:
        raise CheckpointError(f"{path} has no {key!r}. It holds: {', '.join(map(repr, document)) or 'nothing'}.")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(f"{path}: {key} is {value!r}; expected an integer above 0.")
    return value


def text(path: Path, document: dict[str, Any], key: str) -> str | None:
    """Return a string of a config; None: the key is missing or empty.

    :raises CheckpointError: the value is not a string.
    """
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise CheckpointError(f"{path}: {key} is {value!r}; expected a string.")
    return value or None


def parse_labels(value: str) -> list[str]:
    """Return class names from a command-line argument: comma-separated names, or a file with one name per line.

    :raises UsageError: a name is empty, or the file is not UTF-8.
    """
    separator = ","
    if os.path.isfile(value):  # noqa: PTH113 (Path.is_file raises where many names make too long a path)
        try:
            value, separator = Path(value).read_text(encoding="utf-8-sig").rstrip("\n"), "\n"
        except UnicodeDecodeError as error:
            raise UsageError(f"`labels` {value}: byte {error.start + 1} is not UTF-8. Convert the file.") from error
    names = [name.strip() for name in value.split(separator)]
    if not all(names):
        raise UsageError(f"`labels` has an empty name: {', '.join(map(repr, names))}.")
    return names


def find_file(named: str, beside: Sequence[Path]) -> Path | None:
    """Find a file that a config names.

    The original programs run in the root of their repository and name files relative to it, so parent folders are tried
    too.

    :param named: the path in the config.
    :param beside: files that it may be relative to: the config, the checkpoint.
    :returns: None if it does not exist.
    """
    folders = [folder for file in beside for folder in list(file.resolve().parents)[:3]]
    candidates = [
        *(folder / named for folder in folders),
        Path(named),
        *(file.parent / Path(named).name for file in beside),
    ]
    return next((candidate for candidate in candidates if candidate.is_file()), None)
