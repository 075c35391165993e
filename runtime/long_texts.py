"""Reads only the part of a long text that gives the kept tokens, so memory use does not grow with its length."""

import re
from collections.abc import Iterator
from typing import Any

# Most of one text that is read, in bytes of UTF-8. Only a text with next to no tokens, such as one word of half a
# megabyte, is read that far.
_LONGEST_READ = 500_000
# Tokens read beyond the last one kept: the text after a cut can change how the end of the part before it is tokenized,
# at most the word that the cut is in. WordPiece reads no word of more than 100 characters.
_MARGIN = 128
_LARGEST_STEP = 1 << 15  # characters by which the part that is read grows while it has too few tokens
_PAIR_FACTOR = 2  # a pair is long if a text of it has more characters than this many times max_length
_SPACE = re.compile(r"\s")


class LongTexts:
    """Tokenizes long texts and pairs as the tokenizer would if it read them whole. May be shared by threads.

    :param tokenizer: a `tokenizers.Tokenizer` that cuts to ``max_length``.
    :param max_length: tokens, special tokens included.
    :param from_start: whether the start of a long text is kept; otherwise its end.
    """

    def __init__(self, tokenizer: Any, *, max_length: int, from_start: bool) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._from_start = from_start
        self._special: int = tokenizer.num_special_tokens_to_add(False)
        self._special_of_pair: int = tokenizer.num_special_tokens_to_add(True)
        self._enough = max_length + _MARGIN  # tokens
        self.first_part = 8 * self._enough  # characters; a longer text is long
        self.longest_of_pair = min(self._enough, _PAIR_FACTOR * max_length)  # characters; of each text

    def start_of(self, text: str) -> str:
        """Return the part of a long text that mostly has enough tokens."""
        return self._part(text, self.first_part)

    def finish(self, text: str, encoding: Any) -> tuple[Any, bool]:
        """Return a long text's encoding and whether it is cut, given the encoding of its `start_of`."""
        if self._is_enough(encoding):
            return encoding, bool(encoding.overflowing)
        part, encoding = self._grown(text)
        return encoding, bool(encoding.overflowing) or len(part) < len(text)

    def pair(self, first: str, second: str) -> tuple[list[int], list[int], bool]:
        """Tokenize a long pair: ids, type ids, and whether it is cut.

        Both texts are cut as the tokenizer does, the longer one first, but only what is kept of them is read: the
        tokenizer itself would keep every combination of their cut-off parts (huggingface/tokenizers#2035).
        """
        read = [self._grown(text) for text in (first, second)]
        ids = [self._content(encoding) for _, encoding in read]
        room, counts = self._max_length - self._special_of_pair, [len(part) for part in ids]
        whole = [len(part) == len(text) for (part, _), text in zip(read, (first, second), strict=True)]
        half = room // 2
        if all(whole) and sum(counts) <= room:
            shares = counts
        elif counts[0] <= half and whole[0]:
            shares = [counts[0], room - counts[0]]
        elif counts[1] <= half and whole[1]:
            shares = [room - counts[1], counts[1]]
        elif room % 2 and self._is_longer(first, second):
            shares = [room - half, half]
        else:
            shares = [half, room - half]
        kept = [
            part[:share] if self._from_start else part[len(part) - share :]
            for part, share in zip(ids, shares, strict=True)
        ]
        # the special tokens and their places, from a pair of a few tokens
        frame = self._tokenizer.encode(
            *(self._beginning(part) if part_ids else "" for (part, _), part_ids in zip(read, ids, strict=True))
        )
        pair: list[tuple[int, int]] = []
        for id, kind, sequence in zip(frame.ids, frame.type_ids, frame.sequence_ids, strict=True):
            if sequence is None:
                pair.append((id, kind))
            else:
                pair += [(id, kind) for id in kept[sequence]]
                kept[sequence] = []
        cut = not all(whole) or sum(counts) > room
        return [id for id, _ in pair], [kind for _, kind in pair], cut

    def _part(self, text: str, characters: int) -> str:
        return text[:characters] if self._from_start else text[-characters:]

    def _is_enough(self, encoding: Any) -> bool:
        return sum(len(piece) - self._special for piece in _pieces(encoding)) >= self._enough

    def _grown(self, text: str) -> tuple[str, Any]:
        """Return the first part that has enough tokens, is the whole text or `_LONGEST_READ`, and its encoding."""
        characters = self.first_part
        while True:
            part = _at_most(_LONGEST_READ, self._part(text, characters), from_start=self._from_start)
            encoding = self._tokenizer.encode(part)
            if len(part) < min(characters, len(text)) or characters >= len(text) or self._is_enough(encoding):
                return part, encoding
            characters += min(characters, _LARGEST_STEP)

    def _beginning(self, text: str) -> str:
        """Return a start of a text that is long enough to give a token."""
        characters = 1
        while characters < len(text) and not self._content(self._tokenizer.encode(text[:characters])):
            characters *= 2
        return text[:characters]

    def _content(self, encoding: Any) -> list[int]:
        """Return all ids of a text, the cut-off ones too, without special tokens."""
        pieces = _pieces(encoding) if self._from_start else reversed(_pieces(encoding))
        return [
            id
            for piece in pieces
            for id, special in zip(piece.ids, piece.special_tokens_mask, strict=True)
            if not special
        ]

    def _is_longer(self, first: str, second: str) -> bool:
        """Return whether the first text has more tokens, reading both only as far as the shorter one goes."""
        counts, parts = [0, 0], [self._lengths(text) for text in (first, second)]
        while True:
            behind = int(counts[0] > counts[1])
            length = next(parts[behind], None)
            if length is None:
                return behind == 1
            counts[behind] += length

    def _lengths(self, text: str) -> Iterator[int]:
        """Yield the token counts of a text's parts, which begin at white space where there is some."""
        text, start = self._part(text, _LONGEST_READ), 0  # before it is encoded, so that no long text is copied
        text = _at_most(_LONGEST_READ, text, from_start=self._from_start)
        while start < len(text):
            space = _SPACE.search(text, start + _LARGEST_STEP, start + 2 * _LARGEST_STEP)
            end = space.start() if space else start + 2 * _LARGEST_STEP
            yield len(self._content(self._tokenizer.encode(text[start:end])))
            start = end


def _pieces(encoding: Any) -> tuple[Any, ...]:
    """Return an encoding that is cut to ``max_length``, and the pieces that were cut off."""
    return (encoding, *encoding.overflowing)


def _at_most(size: int, text: str, *, from_start: bool) -> str:
    """Cut a text to at most ``size`` bytes of UTF-8."""
    if 4 * len(text) <= size:
        return text
    encoded = text.encode(errors="surrogatepass")
    if len(encoded) <= size:
        return text
    return (encoded[:size] if from_start else encoded[-size:]).decode(errors="ignore")
