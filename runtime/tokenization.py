"""Texts to padded ids, with the tokenizer of a bundle or of a checkpoint."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.long_texts import LongTexts
from fastbert.runtime.manifest import Manifest

TOKENIZER = "tokenizer.json"
TextInput = str | tuple[str, str]
_CHARACTERS_PER_CALL = 1 << 17  # of one call of the tokenizer, which needs some 500 bytes per character meanwhile


class Tokens(NamedTuple):
    """One text, or pair of texts, as ids.

    :param ids: at least one.
    :param type_ids: one per id.
    :param truncated: whether the text was cut to ``max_length``.
    """

    ids: list[int]
    type_ids: list[int]
    truncated: bool


@dataclass(frozen=True)
class Encoded:
    """A padded batch.

    :param input_ids: int64 [batch, sequence], padded to the longest row.
    :param attention_mask: int64 [batch, sequence], 1 for tokens.
    :param token_type_ids: int64 [batch, sequence].
    :param truncated: bool [batch]: whether the text was cut to ``max_length``.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class TextEncoder:
    """Tokenizes texts and cuts them to ``max_length``. May be shared by threads.

    Only the part of a long text or pair that gives the kept tokens is read, so it takes no more memory than a short one
    (`fastbert.runtime.long_texts`). A text without tokens, such as an empty one where the tokenizer adds no special
    tokens, is read as one padding token.

    :param tokenizer: a `tokenizers.Tokenizer`; its padding and truncation are changed.
    :param max_length: longer texts are cut to this many tokens, special tokens included.
    :param truncation_side: ``"right"``: the start of a long text is kept; ``"left"``: its end.
    :param vocab_size: rows of the embedding table.
    :param token_types: how many the backbone knows; with one, all type ids are 0.
    :raises UsageError: ``max_length`` leaves no room for a token of the text.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_length: int,
        pad_token_id: int,
        vocab_size: int,
        token_types: int,
        truncation_side: str = "right",
    ) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        special: int = tokenizer.num_special_tokens_to_add(False)
        self._special_of_pair: int = tokenizer.num_special_tokens_to_add(True)
        if max_length <= special:
            raise UsageError(
                f"`max_length` is {max_length}, which leaves no room for a text beside its {special} special tokens. "
                f"Use {special + 1} or more."
            )
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length, direction=truncation_side)
        self._long = LongTexts(tokenizer, max_length=max_length, from_start=truncation_side == "right")
        self._pad = pad_token_id
        self._vocab_size = vocab_size
        self._token_types = token_types
        self._half: int = max(1, (max_length - self._special_of_pair) // 2)  # tokens of a pair

    @classmethod
    def from_bundle(cls, bundle: Path, manifest: Manifest) -> "TextEncoder":
        """Read a bundle's ``tokenizer.json``.

        :raises BundleError: the file is missing or damaged, or does not fit the manifest.
        """
        from tokenizers import Tokenizer  # only predictions from text need it

        path = bundle / TOKENIZER
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises plain Exception
            raise BundleError(f"{path} could not be read: {error}. Copy the whole bundle again.") from error
        try:
            return cls(
                tokenizer,
                max_length=manifest.max_length,
                pad_token_id=manifest.pad_token_id,
                vocab_size=manifest.vocab_size,
                token_types=manifest.type_vocab_size,
                truncation_side=manifest.truncation_side,
            )
        except UsageError as error:
            raise BundleError(f"{path} does not fit the manifest: {error} Export the bundle again.") from error

    def encode(self, texts: Sequence[TextInput]) -> Encoded:
        """Tokenize and pad to the longest. Errors as in `tokenize`."""
        return self.pad(self.tokenize(texts))

    def tokenize(self, texts: Sequence[TextInput], *, first: int = 0) -> list[Tokens]:
        """Tokenize texts or pairs of texts, without padding.

        :param first: index of ``texts[0]`` among all texts of the caller, for errors.
        :raises UsageError: an element is neither a string nor a pair of strings, has an unpaired surrogate, is a pair
            for which ``max_length`` leaves no room, or the tokenizer gives it an id, a token type or a number of tokens
            that the model does not have.
        """
        for index, text in enumerate(texts, start=first):
            self._check(index, text)
        try:
            tokenized = [tokens for part in self._calls(texts) for tokens in self._tokenized(part)]
        except Exception as error:  # TypeError for a surrogate; tokenizers also raises plain Exception
            reason = _unpaired_surrogate(texts, first) or f"The tokenizer failed on a text: {error}."
            raise UsageError(reason) from error
        for index, tokens in enumerate(tokenized, start=first):
            if max(tokens.ids) >= self._vocab_size:
                raise UsageError(self._unknown_id(index, tokens.ids))
            if max(tokens.type_ids) >= self._token_types:
                raise UsageError(
                    f"The tokenizer gives texts[{index}] the token type {max(tokens.type_ids)}; the model knows 0 to "
                    f"{self._token_types - 1}. The post_processor in {TOKENIZER} belongs to another model. Correct it."
                )
            if len(tokens.ids) > self._max_length:
                raise UsageError(
                    f"The tokenizer gives texts[{index}] {len(tokens.ids)} tokens, more than the max_length of "
                    f"{self._max_length}. The post_processor in {TOKENIZER} repeats a text. Correct it."
                )
        return tokenized

    def pad(self, items: Sequence[Tokens]) -> Encoded:
        """Pad tokenized texts to the longest; no texts become arrays of [0, 1]."""
        if not items:
            empty = np.zeros((0, 1), dtype=np.int64)
            return Encoded(empty, empty, empty, np.zeros(0, dtype=np.bool_))
        width = max([len(item.ids) for item in items])
        input_ids = _filled([item.ids for item in items], width, self._pad)
        attention_mask = _filled([[1] * len(item.ids) for item in items], width, 0)
        token_type_ids = _filled([item.type_ids for item in items], width, 0)
        return Encoded(input_ids, attention_mask, token_type_ids, np.array([item.truncated for item in items]))

    def _check(self, index: int, text: TextInput) -> None:
        if isinstance(text, str):
            return
        if not (isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)):
            raise UsageError(f"texts[{index}] is {_shown(text)}; each must be a string or a tuple of two strings.")
        if self._max_length < self._special_of_pair + 2:
            raise UsageError(
                f"texts[{index}] is a pair of texts, for which a max_length of {self._max_length} leaves no room: its "
                f"special tokens take {self._special_of_pair}. Train with {self._special_of_pair + 2} or more."
            )

    def _calls(self, texts: Sequence[TextInput]) -> Iterator[Sequence[TextInput]]:
        """Cut texts into parts of a size that one call of the tokenizer takes."""
        start, characters = 0, 0
        for index, text in enumerate(texts):
            characters += self._weight(text)
            if characters > _CHARACTERS_PER_CALL and index > start:
                yield texts[start:index]
                start, characters = index, 0
        yield texts[start:] if start else texts

    def _weight(self, text: TextInput) -> int:
        """Return how many characters the tokenizer holds: of a pair, once for each way it combines their parts."""
        if isinstance(text, str):
            return min(len(text), self._long.first_part)
        if max(map(len, text)) > self._long.longest_of_pair:
            return 0  # tokenized by itself
        # a token has at least one byte, and a character at most four
        first, second = (len(part) * (1 if part.isascii() else 4) // self._half for part in text)
        return (first + 1) * (second + 1) * min(self._max_length, text_size(text) * 4)

    def _tokenized(self, texts: Sequence[TextInput]) -> list[Tokens]:
        parts = [self._first_read(text) for text in texts]
        encodings = self._tokenizer.encode_batch(parts)
        return [
            self._tokens(encoding.ids, encoding.type_ids, bool(encoding.overflowing))
            if part is text
            else self._long_tokens(text, encoding)
            for text, part, encoding in zip(texts, parts, encodings, strict=True)
        ]

    def _first_read(self, text: TextInput) -> TextInput:
        """Return a short text, the part of a long text that mostly has enough tokens, or "" for a long pair."""
        if isinstance(text, str):
            return text if len(text) <= self._long.first_part else self._long.start_of(text)
        return text if max(map(len, text)) <= self._long.longest_of_pair else ""

    def _long_tokens(self, text: TextInput, encoding: Any) -> Tokens:
        if isinstance(text, tuple):
            return self._tokens(*self._long.pair(*text))
        encoding, truncated = self._long.finish(text, encoding)
        return self._tokens(encoding.ids, encoding.type_ids, truncated)

    def _tokens(self, ids: list[int], type_ids: list[int], truncated: bool) -> Tokens:
        ids = ids or [self._pad]
        types = type_ids if self._token_types > 1 else []
        return Tokens(ids, types or [0] * len(ids), truncated)

    def _unknown_id(self, index: int, ids: list[int]) -> str:
        unknown = max(ids)
        return (
            f"texts[{index}] has the token {self._tokenizer.id_to_token(unknown)!r} with the id {unknown}; the model "
            f"knows 0 to {self._vocab_size - 1}. Its tokenizer and its embeddings belong to different models. Export "
            "the model again, with the tokenizer that it was trained with."
        )


def text_size(text: Any) -> int:
    """Return the characters of a text or of a pair of texts; 0 for any other value."""
    if isinstance(text, str):
        return len(text)
    return sum(len(part) for part in text if isinstance(part, str)) if isinstance(text, tuple) else 0


def _filled(rows: Sequence[list[int]], width: int, value: int) -> NDArray[np.int64]:
    return np.array([row + [value] * (width - len(row)) for row in rows], dtype=np.int64)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _unpaired_surrogate(texts: Sequence[TextInput], first: int) -> str | None:
    for index, text in enumerate(texts, start=first):
        try:
            "".join(text).encode()
        except UnicodeEncodeError as error:
            return (
                f"texts[{index}] has an unpaired surrogate at index {error.start}, so it is not valid Unicode. It was "
                "probably decoded with the wrong encoding."
            )
    return None
