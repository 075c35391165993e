"""The class names in a Hugging Face config."""

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from fastbert.runtime.errors import CheckpointError

__all__ = ["checked_names", "class_names", "placeholders_as"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def class_names(source: str | Path, config: Any) -> list[str]:
    """Return the class names by index. A number or truth value is its text in JSON; white space around a name goes.

    :param source: where ``config`` was read, for messages.
    :raises CheckpointError: ``id2label`` does not number its classes from 0 without a gap, or two have one name.
    """
    given = dict(config.id2label)
    where = f"id2label in the config.json of {source}"
    expected = list(range(len(given)))
    if sorted(given, key=str) != sorted(expected, key=str):
        raise CheckpointError(
            f"{where} has the ids {', '.join(map(str, given))}; expected {', '.join(map(str, expected))}, one for each "
            "row of the classifier. Number the names so."
        )
    return checked_names(where, [given[index] for index in expected])


def checked_names(where: str, given: Sequence[Any]) -> list[str]:
    """Return class names as their text, without white space around it.

    :param where: what names them, for messages.
    :raises CheckpointError: one is empty, no text, or another's.
    """
    names = [_name(where, index, name) for index, name in enumerate(given)]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise CheckpointError(
                f"{where} names the classes {names.index(name)} and {index} both {name!r}. Give each a name of its own."
            )
    return names


def placeholders_as(names: list[str], labels: Collection[str]) -> list[str]:
    """Return 0, 1 ... for the placeholders LABEL_0, LABEL_1 ..., as data files have them; other names as they are.

    :param labels: those of the data; where they are the placeholders themselves, these stay.
    """
    numbers = [str(index) for index in range(len(names))]
    are_placeholders = names == [f"LABEL_{number}" for number in numbers]
    return numbers if are_placeholders and not set(labels) & set(names) else names


def _name(where: str, index: int, name: Any) -> str:
    text = (name if isinstance(name, str) else json.dumps(name)).strip()
    if name is None or not text or not isinstance(name, str | int | float):
        raise CheckpointError(f"{where} has {json.dumps(name)} as the name of the class {index}. Give it a name.")
    if _SURROGATE.search(text):
        raise CheckpointError(
            f"{where} has half a character (a lone surrogate) in {json.dumps(name)}, the name of the class {index}, "
            "which no file can hold. Give it another name."
        )
    return text
