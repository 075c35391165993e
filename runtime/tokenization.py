"""Texts to padded ids, with the bundle's own ``tokenizer.json``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.errors import BundleError, UsageError

__all__ = ["TOKENIZER", "Encoded", "TextEncoder", "TextInput"]

TOKENIZER = "tokenizer.json"
TextInput = str | tuple[str, str]


@dataclass(frozen=True)
class Encoded:
    """A padded batch.

    :param input_ids: int64 [batch, sequence], padded to the longest row.
    :param attention_mask: int64 [batch, sequence], 1 for tokens.
    :param token_type_ids: int64 [batch, sequence].
    :param truncated: bool [batch]: the text was longer than ``max_length``.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class TextEncoder:
    """Tokenizes as the checkpoint did. May be shared by threads.

    :param bundle: directory that holds ``tokenizer.json``.
    :param max_length: longer texts are cut to this many tokens, special tokens included.
    :param type_ids: whether the backbone knows more than one token type; if not they are all 0.
    :raises BundleError: the file is missing or damaged.
    """

    def __init__(self, bundle: Path, *, max_length: int, pad_token_id: int, type_ids: bool) -> None:
        from tokenizers import Tokenizer  # only predictions from text need it

        path = bundle / TOKENIZER
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises plain Exception
            raise BundleError(f"{path} could not be read: {error}. Copy the bundle again, whole.") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)
        self._pad = pad_token_id
        self._type_ids = type_ids

    def encode(self, texts: Sequence[TextInput]) -> Encoded:
        """Tokenize and pad to the longest: at least one text or pair of texts. Errors as in `tokenize`."""
        return self.pad(self.tokenize(texts))

    def tokenize(self, texts: Sequence[TextInput], *, first: int = 0) -> list[Any]:
        """Tokenize: texts or pairs of texts -> a `tokenizers.Encoding` each, not padded.

        :param first: place of ``texts[0]`` among all that the caller gave, for errors.
        :raises UsageError: an element is neither a string nor a pair of strings, or holds half a character.
        """
        for index, text in enumerate(texts, start=first):
            pair = isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)
            if not (isinstance(text, str) or pair):
                raise UsageError(f"texts[{index}] is {text!r}; each must be a string or a tuple of two strings.")
        try:
            return self._tokenizer.encode_batch(list(texts))
        except TypeError as error:  # it takes no string that UTF-8 cannot hold
            raise UsageError(_half_character(texts, first)) from error

    def pad(self, items: Sequence[Any]) -> Encoded:
        """Pad what `tokenize` gave, at least one, to the longest."""
        width = max(map(len, items))
        input_ids = _filled([item.ids for item in items], width, self._pad)
        attention_mask = _filled([item.attention_mask for item in items], width, 0)
        types = [item.type_ids for item in items] if self._type_ids else [[]] * len(items)
        token_type_ids = _filled(types, width, 0)
        truncated = np.array([bool(item.overflowing) for item in items])
        return Encoded(input_ids, attention_mask, token_type_ids, truncated)


def _filled(rows: Sequence[list[int]], width: int, value: int) -> NDArray[np.int64]:
    return np.array([row + [value] * (width - len(row)) for row in rows], dtype=np.int64)


def _half_character(texts: Sequence[TextInput], first: int) -> str:
    for index, text in enumerate(texts, start=first):
        try:
            "".join(text).encode()
        except UnicodeEncodeError as error:
            return (
                f"texts[{index}] holds half a character (a lone surrogate) at {error.start}: "
                "it is no Unicode, or was not UTF-8 where it came from."
            )
    return "a text could not be tokenized"
