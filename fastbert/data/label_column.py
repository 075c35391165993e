"""The label column of one data file: from what the file holds to labels."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fastbert.data.rows import BadRow, has_surrogate, short_repr

_LABELS_SHOWN = 20
_log = logging.getLogger(__name__)


class LabelColumn:
    """Reads the labels of one file.

    :param allowed: the labels that the model has; None: any.
    :param required: every row must have a label.
    :param partly: a value that cannot be a label counts as no label, with a warning.
    """

    def __init__(
        self, path: str | Path, allowed: Sequence[str] | None, *, required: bool = False, partly: bool = False
    ) -> None:
        self.path = path
        # as the model spells them; found with and without the white space around them
        self.allowed: dict[str, str] | None = None
        if allowed is not None:
            self.allowed = {label.strip(): label for label in allowed} | {label: label for label in allowed}
        self.required = required
        self.partly = partly
        self.first_spelling: dict[str, str] = {}  # by label
        self.warned: set[str] = set()

    def read(self, value: Any) -> str | None:
        """Return the label of a row, or None.

        :raises BadRow: the value cannot be a label, is not allowed, or is missing and required.
        """
        if value is None:
            if self.required:
                raise BadRow("the label is missing; every row of this file needs one, in a column 'label'.")
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            problem = f"the label {short_repr(value)} is neither a name nor an integer"
            if not self.partly:
                raise BadRow(f"{problem}; write it as one.")
            self._warn_once("%s: %s; such rows count as rows without a label.", self.path, problem)
            return None
        spelling = str(value)
        label = spelling.strip()
        if not label:
            if self.partly:
                return None
            raise BadRow("the label is empty; give this row a label, or remove the row.")
        if has_surrogate(label):
            raise BadRow("column 'label' has an unpaired surrogate, so it is not valid Unicode.")
        if self.allowed is not None:
            known = self.allowed.get(spelling, self.allowed.get(label))
            if known is None:
                raise BadRow(
                    f"the label {short_repr(label)} is not among those trained on: {some_labels(self.allowed)}."
                )
            label = known
        first = self.first_spelling.setdefault(label, spelling)
        if first != spelling:
            message = "%s: the labels %r and %r differ only in white space around them, and count as one."
            self._warn_once(message, self.path, first, spelling)
        return label

    def find(self, value: Any) -> str | None:
        """Return the label of a row if it is allowed; anything else counts as no label."""
        if not self.allowed or isinstance(value, bool) or not isinstance(value, str | int):
            return None
        return self.allowed.get(str(value), self.allowed.get(str(value).strip()))

    def _warn_once(self, message: str, *values: Any) -> None:
        if message not in self.warned:
            self.warned.add(message)
            _log.warning(message, *values)


def some_labels(labels: Iterable[str]) -> str:
    """Return labels for a message, sorted: at most 20 of them, and how many more there are."""
    names = sorted({label.strip() for label in labels})
    more = f" and {len(names) - _LABELS_SHOWN} more" if len(names) > _LABELS_SHOWN else ""
    return ", ".join(name[:80] for name in names[:_LABELS_SHOWN]) + more
