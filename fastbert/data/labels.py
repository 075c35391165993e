"""The class names in a Hugging Face configuration."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from fastbert.data.rows import has_surrogate
from fastbert.runtime.errors import CheckpointError


def class_names(source: str | Path, config: Any) -> list[str]:
    """Return the class names by index, as text and without white space around them.

    :param source: where ``config`` was read, for messages.
    :raises CheckpointError: ``id2label`` does not number its classes from 0 without a gap, or as in `checked_names`.
    """
    given = dict(config.id2label)
    where = f"id2label in the config.json of {source}"
    expected = list(range(len(given)))
    if sorted(given, key=str) != sorted(expected, key=str):
        raise CheckpointError(
            f"{where} has the ids {', '.join(map(str, given))}; expected {', '.join(map(str, expected))}, one for each "
            "row of the classifier. Correct the numbers."
        )
    return checked_names(where, [given[index] for index in expected])


def checked_names(where: str, given: Sequence[Any]) -> list[str]:
    """Return class names as text, without white space around them. A number or truth value becomes its JSON text.

    :param where: what holds the names, for messages.
    :raises CheckpointError: a name is empty, cannot be text, or is repeated.
    """
    names = [_name(where, index, name) for index, name in enumerate(given)]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise CheckpointError(
                f"{where} names the classes {names.index(name)} and {index} both {name!r}. Give each its own name."
            )
    return names


def label_maps(labels: Sequence[str]) -> dict[str, Any]:
    """Return ``id2label`` and ``label2id`` of a Hugging Face configuration for class names by index."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def placeholders_as(names: list[str], labels: Collection[str]) -> list[str]:
    """Replace the placeholders LABEL_0, LABEL_1 ... by 0, 1 ..., as data files name classes; keep other names.

    :param labels: the labels of the data; the placeholders stay if one of them is among these.
    """
    numbers = [str(index) for index in range(len(names))]
    are_placeholders = names == [f"LABEL_{number}" for number in numbers]
    return numbers if are_placeholders and not set(labels) & set(names) else names


def _name(where: str, index: int, name: Any) -> str:
    text = (name if isinstance(name, str) else json.dumps(name)).strip()
    if name is None or not text or not isinstance(name, str | int | float):
        raise CheckpointError(f"{where} has {json.dumps(name)} for the class {index}. Give it a name.")
    if has_surrogate(text):
        raise CheckpointError(
            f"{where} has {json.dumps(name)} for the class {index}: an unpaired surrogate, so it is not valid Unicode. "
            "Give it another name."
        )
    return text
