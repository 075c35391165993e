"""Texts to padded ids, with the tokenizer of a bundle or of a checkpoint, in memory that no text's length sets."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.manifest import Manifest

__all__ = ["LONGEST_READ", "TOKENIZER", "Encoded", "TextEncoder", "TextInput", "Tokens", "text_size"]

TOKENIZER = "tokenizer.json"
TextInput = str | tuple[str, str]
# Most of one text that is ever read, in bytes of UTF-8. Only a text with next to no tokens in it, such as one word of
# half a megabyte, is read that far; see `TextEncoder`.
LONGEST_READ = 500_000
# Tokens read beyond the last one used: what follows a cut can change how the end of the part before it is tokenized,
# at most the word that the cut lies in. WordPiece reads no word of more than 100 characters.
_MARGIN = 128
_LARGEST_STEP = 1 << 15  # characters, by which a text that has too few tokens so far is read on
_PAIR_FACTOR = 2  # a pair whose parts have more characters than so many times max_length is put together here
_SPACE = re.compile(r"\s")
_CHARACTERS_PER_CALL = 1 << 17  # of one call of the tokenizer, which holds some 500 bytes a character meanwhile


class Tokens(NamedTuple):
    """One text, or pair of texts, as ids.

    :param ids: at least one.
    :param type_ids: as many.
    :param truncated: whether the text was longer.
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
    :param truncated: bool [batch]: the text was longer than ``max_length``.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class TextEncoder:
    """Tokenizes texts and cuts them to ``max_length``. May be shared by threads.

    Of a long text only as much is read as gives the tokens that are used, and some more: its start, or with
    ``truncation_side="left"`` its end. So a text of any length costs the memory of a short one, and a pair of two long
    texts too: the tokenizer itself keeps every combination of their cut-off parts (huggingface/tokenizers#2035).

    A text that gives no token at all, as an empty one does where the tokenizer adds no special tokens, is read as one
    padding token.

    :param tokenizer: a `tokenizers.Tokenizer`; its padding and truncation are set.
    :param max_length: longer texts are cut to this many tokens, special tokens included.
    :param truncation_side: ``"right"``: the start of a long text is kept; ``"left"``: its end.
    :param vocab_size: rows of the embedding table.
    :param token_types: how many the backbone knows; if it is one, they are all 0.
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
        self._special, self._special_of_pair = (tokenizer.num_special_tokens_to_add(pair) for pair in (False, True))
        if max_length <= self._special:
            raise UsageError(
                f"A max_length of {max_length} leaves no room for a text: its special tokens take {self._special}. "
                f"Use {self._special + 1} or more."
            )
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length, direction=truncation_side)
        self._from_start = truncation_side == "right"
        self._pad = pad_token_id
        self._vocab_size = vocab_size
        self._token_types = token_types
        self._enough = max_length + _MARGIN  # tokens
        self._first_part = 8 * self._enough  # characters; the whole of most texts
        self._longest_of_pair = min(self._enough, _PAIR_FACTOR * max_length)  # characters
        self._half = max(1, (max_length - self._special_of_pair) // 2)  # tokens

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
            raise BundleError(f"{path} could not be read: {error}. Copy the bundle again, whole.") from error
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

        :param first: place of ``texts[0]`` among all that the caller gave, for errors.
        :raises UsageError: an element is neither a string nor a pair of strings, holds half a character or a token
            that the model does not have, is a pair for which ``max_length`` leaves no room, or is made more tokens or
            of other types than the model has.
        """
        for index, text in enumerate(texts, start=first):
            self._check(index, text)
        try:
            found = [tokens for part in self._calls(texts) for tokens in self._tokenized(part)]
        except Exception as error:  # TypeError: a string that UTF-8 cannot hold; tokenizers has plain ones too
            raise UsageError(_half_character(texts, first) or f"The tokenizer failed on a text: {error}.") from error
        for index, tokens in enumerate(found, start=first):
            if max(tokens.ids) >= self._vocab_size:
                raise UsageError(self._unknown_id(index, tokens.ids))
            if max(tokens.type_ids) >= self._token_types:
                raise UsageError(
                    f"The tokenizer gives texts[{index}] the token type {max(tokens.type_ids)}; the model knows 0 to "
                    f"{self._token_types - 1}. Its post_processor, in {TOKENIZER}, is another model's. Correct it."
                )
            if len(tokens.ids) > self._max_length:
                raise UsageError(
                    f"The tokenizer makes {len(tokens.ids)} tokens of texts[{index}], of the {self._max_length} that "
                    f"max_length allows: its post_processor, in {TOKENIZER}, repeats a text. Correct it."
                )
        return found

    def pad(self, items: Sequence[Tokens]) -> Encoded:
        """Pad what `tokenize` gave to the longest; nothing becomes int64 [0, 1]."""
        if not items:
            nothing = np.zeros((0, 1), dtype=np.int64)
            return Encoded(nothing, nothing, nothing, np.zeros(0, dtype=np.bool_))
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
                f"texts[{index}] is a pair of texts; its special tokens take {self._special_of_pair} of the "
                f"{self._max_length} that max_length allows. Train with {self._special_of_pair + 2} or more."
            )

    def _calls(self, texts: Sequence[TextInput]) -> Iterator[Sequence[TextInput]]:
        """Cut texts into what one call of the tokenizer takes."""
        start, characters = 0, 0
        for index, text in enumerate(texts):
            characters += self._held(text)
            if characters > _CHARACTERS_PER_CALL and index > start:
                yield texts[start:index]
                start, characters = index, 0
        yield texts[start:] if start else texts

    def _held(self, text: TextInput) -> int:
        """Return the characters that the tokenizer holds of a text: those of a pair as often as it combines them."""
        if isinstance(text, str):
            return min(len(text), self._first_part)
        if max(map(len, text)) > self._longest_of_pair:
            return 0  # tokenized by itself
        # a token is a byte at least, of which a character has at most four
        first, second = (len(part) * (1 if part.isascii() else 4) // self._half for part in text)
        return (first + 1) * (second + 1) * min(self._max_length, text_size(text) * 4)

    def _tokenized(self, texts: Sequence[TextInput]) -> list[Tokens]:
        parts = [self._first_read(text) for text in texts]
        encodings = self._tokenizer.encode_batch(parts)
        return [
            self._tokens(encoding) if part is text else self._long(text, encoding)
            for text, part, encoding in zip(texts, parts, encodings, strict=True)
        ]

    def _first_read(self, text: TextInput) -> TextInput:
        """Return a text itself if it is short, otherwise as much of it as is mostly enough; of a long pair nothing."""
        if isinstance(text, str):
            return text if len(text) <= self._first_part else self._part(text, self._first_part)
        return text if max(map(len, text)) <= self._longest_of_pair else ""

    def _long(self, text: TextInput, encoding: Any) -> Tokens:
        """Tokenize a long text, of which ``encoding`` is a part, or a long pair."""
        if isinstance(text, tuple):
            return self._long_pair(*text)
        if self._is_enough(encoding):
            return self._tokens(encoding)
        part, encoding = self._grown(text)
        return self._tokens(encoding)._replace(truncated=bool(encoding.overflowing) or len(part) < len(text))

    def _part(self, text: str, characters: int) -> str:
        return text[:characters] if self._from_start else text[-characters:]

    def _is_enough(self, encoding: Any) -> bool:
        return sum(len(piece) - self._special for piece in _pieces(encoding)) >= self._enough

    def _grown(self, text: str) -> tuple[str, Any]:
        """Read a part of a text, and more until it is enough, or the whole, or `LONGEST_READ`."""
        characters = self._first_part
        while True:
            part = _at_most(LONGEST_READ, self._part(text, characters), from_start=self._from_start)
            encoding = self._tokenizer.encode(part)
            if len(part) < min(characters, len(text)) or characters >= len(text) or self._is_enough(encoding):
                return part, encoding
            characters += min(characters, _LARGEST_STEP)

    def _long_pair(self, first: str, second: str) -> Tokens:
        """Put a pair together as the tokenizer does when it cuts the longest first, from what is used of both texts."""
        read = [self._grown(text) for text in (first, second)]
        ids = [self._content(encoding) for _, encoding in read]
        room, counts = self._max_length - self._special_of_pair, [len(part) for part in ids]
        wholes = [len(part) == len(text) for (part, _), text in zip(read, (first, second), strict=True)]
        half = room // 2
        if all(wholes) and sum(counts) <= room:
            shares = counts
        elif counts[0] <= half and wholes[0]:
            shares = [counts[0], room - counts[0]]
        elif counts[1] <= half and wholes[1]:
            shares = [room - counts[1], counts[1]]
        elif room % 2 and self._is_longer(first, second):
            shares = [room - half, half]
        else:
            shares = [half, room - half]
        kept = [
            part[:share] if self._from_start else part[len(part) - share :]
            for part, share in zip(ids, shares, strict=True)
        ]
        # what the tokenizer adds, and where, from a pair of a few tokens
        frame = self._tokenizer.encode(
            *(self._beginning(part) if found else "" for (part, _), found in zip(read, ids, strict=True))
        )
        pair: list[tuple[int, int]] = []
        for id, kind, sequence in zip(frame.ids, frame.type_ids, frame.sequence_ids, strict=True):
            if sequence is None:
                pair.append((id, kind))
            else:
                pair += [(id, kind) for id in kept[sequence]]
                kept[sequence] = []
        cut = not all(wholes) or sum(counts) > room
        return self._made([id for id, _ in pair], [kind for _, kind in pair], cut)

    def _beginning(self, text: str) -> str:
        """Return the start of a text, as far as it takes to give a token."""
        characters = 1
        while characters < len(text) and not self._content(self._tokenizer.encode(text[:characters])):
            characters *= 2
        return text[:characters]

    def _content(self, encoding: Any) -> list[int]:
        """Return the ids of a text that was cut, without special tokens."""
        pieces = _pieces(encoding) if self._from_start else reversed(_pieces(encoding))
        return [
            id
            for piece in pieces
            for id, special in zip(piece.ids, piece.special_tokens_mask, strict=True)
            if not special
        ]

    def _is_longer(self, first: str, second: str) -> bool:
        """Return whether the first of two texts has more tokens, reading both only as far as the shorter goes."""
        counts, parts = [0, 0], [self._lengths(text) for text in (first, second)]
        while True:
            behind = int(counts[0] > counts[1])
            length = next(parts[behind], None)
            if length is None:
                return behind == 1
            counts[behind] += length

    def _lengths(self, text: str) -> Iterator[int]:
        """Count a text's tokens part by part, each of which begins at white space if there is some."""
        text, start = self._part(text, LONGEST_READ), 0  # no copy of a text of any length
        text = _at_most(LONGEST_READ, text, from_start=self._from_start)
        while start < len(text):
            space = _SPACE.search(text, start + _LARGEST_STEP, start + 2 * _LARGEST_STEP)
            end = space.start() if space else start + 2 * _LARGEST_STEP
            yield len(self._content(self._tokenizer.encode(text[start:end])))
            start = end

    def _tokens(self, encoding: Any) -> Tokens:
        return self._made(encoding.ids, encoding.type_ids, bool(encoding.overflowing))

    def _made(self, ids: list[int], type_ids: list[int], truncated: bool) -> Tokens:
        ids = ids or [self._pad]
        types = type_ids if self._token_types > 1 else []
        return Tokens(ids, types or [0] * len(ids), truncated)

    def _unknown_id(self, index: int, ids: list[int]) -> str:
        unknown = max(ids)
        return (
            f"texts[{index}] holds the token {self._tokenizer.id_to_token(unknown)!r} of the id {unknown}; the model "
            f"knows 0 to {self._vocab_size - 1}: its tokenizer and its embeddings are of different models. Export it "
            "again, with the tokenizer that it was trained with."
        )


def text_size(text: Any) -> int:
    """Return the characters of a text or of a pair of texts; 0 for what is neither."""
    if isinstance(text, str):
        return len(text)
    return sum(len(part) for part in text if isinstance(part, str)) if isinstance(text, tuple) else 0


def _pieces(encoding: Any) -> tuple[Any, ...]:
    """Return an encoding that was cut to ``max_length``, and what was cut off."""
    return (encoding, *encoding.overflowing)


def _at_most(size: int, text: str, *, from_start: bool) -> str:
    """Cut a text to at most so many bytes of UTF-8."""
    if 4 * len(text) <= size:
        return text
    encoded = text.encode(errors="surrogatepass")
    if len(encoded) <= size:
        return text
    return (encoded[:size] if from_start else encoded[-size:]).decode(errors="ignore")


def _filled(rows: Sequence[list[int]], width: int, value: int) -> NDArray[np.int64]:
    return np.array([row + [value] * (width - len(row)) for row in rows], dtype=np.int64)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _half_character(texts: Sequence[TextInput], first: int) -> str | None:
    for index, text in enumerate(texts, start=first):
        try:
            "".join(text).encode()
        except UnicodeEncodeError as error:
            return (
                f"texts[{index}] holds half a character (a lone surrogate) at {error.start}: "
                "it is no Unicode, or was not UTF-8 where it came from."
            )
    return None
