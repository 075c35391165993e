"""The tokenizer of a model: loaded as its file says, and checked against the model and against real rows."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import cached_file

from fastbert.data.rows import Row
from fastbert.runtime.errors import CheckpointError
from fastbert.runtime.tokenization import TOKENIZER, TextEncoder

__all__ = [
    "check_rows",
    "check_vocabulary",
    "compare_with_transformers",
    "load_tokenizer",
    "pad_token_id",
    "text_encoder",
    "tokenizer_limit",
    "warn_of_another",
]

_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# What tokenizer_config.json may say of a BertNormalizer, and what tokenizer.json calls it.
_BERT_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_MOST_UNKNOWN = 0.5  # share of unknown tokens above which a tokenizer is not the model's, or rows not its language
_FEW = 8  # tokens, too few to tell
_ROWS_LOOKED_AT = 1000
_CHARACTERS_LOOKED_AT = 2000
_COMMON_WORDS = "the of and to a in is it not good bad very film with that this"
_RARE_WORDS = "qzxj \u4e95\u06de \U0001f9ff"
_log = logging.getLogger(__name__)


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer; it pads on the right.

    A ``tokenizer.json`` is taken as it is. transformers 5 builds some tokenizers anew from their vocabulary instead,
    and so drops the file's own normalizer, pre-tokenizer and post-processor.

    :param source: a directory, or a name on a model hub.
    :raises CheckpointError: there is none, it has no words, or its files contradict each other.
    """
    try:
        tokenizer = _from_transformers(source)
    except Exception as error:
        _check_documents(source)
        raise CheckpointError(f"No tokenizer could be loaded from {source}: {error}. {_NAME_ONE}") from error
    if not tokenizer.is_fast:
        raise CheckpointError(f"{source} has only a slow tokenizer; fastbert needs one with a {TOKENIZER}. {_NAME_ONE}")
    names = list(dict.fromkeys((TOKENIZER, *type(tokenizer).vocab_files_names.values())))
    file = _file(source, TOKENIZER)
    if file is None and not any(_file(source, name) for name in names[1:]):
        raise CheckpointError(f"{source} has no tokenizer: none of {', '.join(names)} is in it. {_NAME_ONE}")
    if file is not None:
        _check_normalizer(source, file)
        tokenizer = _as_its_file_says(tokenizer, file)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise CheckpointError(f"The tokenizer of {source} knows no word: its vocabulary is empty. {_NAME_ONE}")
    try:
        tokenizer.backend_tokenizer.encode(_RARE_WORDS)
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(
            f"The tokenizer of {source} cannot read every text: {error}. Give its vocabulary a token for unknown "
            f"words. {_NAME_ONE}"
        ) from error
    tokenizer.padding_side = "right"  # exits classify from the first token
    return tokenizer


def check_vocabulary(source: str | Path, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    """Refuse a tokenizer that makes ids which the embedding table does not have.

    A token such as ``[MASK]`` that transformers adds by default, and that no text gets, does not count.

    :param vocab_size: rows of the table.
    :raises CheckpointError: it does.
    """
    in_every_text = set(tokenizer.backend_tokenizer.encode("", "").tokens)
    unused = {getattr(tokenizer, name) for name in _NAMED_TOKENS} - in_every_text
    beyond = {id: token for token, id in tokenizer.get_vocab().items() if id >= vocab_size and token not in unused}
    if beyond:
        shown = ", ".join(f"{beyond[id]!r} ({id})" for id in sorted(beyond)[:5])
        raise CheckpointError(
            f"The tokenizer of {source} has ids beyond the {vocab_size} rows of the model's embedding table, of the "
            f"tokens {shown}. If tokens were added, resize the model before it is trained "
            "(model.resize_token_embeddings(len(tokenizer))) and save both; otherwise the tokenizer is another "
            "model's: name the right one with --tokenizer of train or import."
        )


def check_rows(source: str | Path, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> None:
    """Refuse a tokenizer to which most of some rows is unknown; if they have few tokens, or none are given, warn.

    :raises CheckpointError: most tokens of the rows are unknown.
    """
    texts = _some_texts(rows) or [_COMMON_WORDS]
    tokens = [
        encoding.ids or [None] for text, encoding in zip(texts, _read(tokenizer, texts), strict=True) if text.strip()
    ]
    found = [id for ids in tokens for id in ids]
    ids = {None, *_unknown_ids(tokenizer)}
    unknown = sum(id in ids for id in found)
    if not found or unknown < _MOST_UNKNOWN * len(found):
        return
    problem = (
        f"{unknown} of the {len(found)} tokens that the tokenizer of {source} makes of {len(tokens)} texts are unknown"
    )
    if rows and len(found) >= _FEW:
        raise CheckpointError(f"{problem}: it is not the model's, or the texts are of another language. {_NAME_ONE}")
    if rows:
        _log.warning("%s. If that is so for others too, it is not the model's.", problem)
        return
    _log.warning(
        "The tokenizer of %s knows none of the most common English words. If its texts are in English, it is not the "
        "model's. With rows at hand (--verify-data) this is checked.",
        source,
    )


def compare_with_transformers(source: str | Path, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> None:
    """Warn where transformers would read rows otherwise than `load_tokenizer`'s result."""
    texts = _some_texts(rows)
    ours, theirs = _read(tokenizer, texts), _read(_from_transformers(source), texts)
    differing = [at for at, text in enumerate(texts) if ours[at].ids != theirs[at].ids]
    if differing:
        first = differing[0]
        _log.warning(
            "transformers reads %d of %d texts otherwise than the %s of %s, which is used here: of %r it makes %s, the "
            "file %s.",
            len(differing),
            len(texts),
            TOKENIZER,
            source,
            texts[first][:60],
            " ".join(theirs[first].tokens[:12]),
            " ".join(ours[first].tokens[:12]),
        )


def warn_of_another(model: str | Path, named: str | Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Say where a model has a tokenizer of its own, with other ids than the one named for it."""
    try:
        own = load_tokenizer(model).get_vocab()
    except CheckpointError:
        return  # which is why another is named
    vocabulary = tokenizer.get_vocab()
    others = sum(vocabulary.get(token) != id for token, id in own.items())
    if others:
        _log.warning(
            "The tokenizer of %s is used, as asked; that of %s itself is not: %d of its %d tokens have another id or "
            "none. Leave the option out to use it.",
            named,
            model,
            others,
            len(own),
        )


def pad_token_id(tokenizer: PreTrainedTokenizerBase, backbone_config: Any) -> int:
    """Return the id that pads, and that attention never sees: the tokenizer's, or else the model's.

    One beyond the embedding table is none: a padding token that was added for the tokenizer's sake only.
    """
    for known in (tokenizer.pad_token_id, getattr(backbone_config, "pad_token_id", None)):
        if known is not None and 0 <= known < backbone_config.vocab_size:
            return int(known)
    return 0


def tokenizer_limit(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the longest sequence that a tokenizer says its model takes; None: it names none that can be."""
    limit = tokenizer.model_max_length
    # a tokenizer without a limit has 1e30; others have -1 or 0
    return int(limit) if isinstance(limit, int | float) and 1 < limit < 1e6 else None


def text_encoder(tokenizer: PreTrainedTokenizerBase, config: Any) -> TextEncoder:
    """Return what turns texts into the ids of a model, as its bundle will.

    :param config: a `fastbert.configuration.FastBertConfig`.
    :raises UsageError: its ``max_sequence_length`` leaves no room for a token of the text.
    :raises CheckpointError: the tokenizer gives a text a token type that the model does not have.
    """
    backbone = config.backbone_config
    highest = max(tokenizer.backend_tokenizer.encode(_COMMON_WORDS).type_ids, default=0)
    if 1 < backbone.type_vocab_size <= highest:
        raise CheckpointError(
            f"The tokenizer gives a text the token type {highest}, but the model has only {backbone.type_vocab_size} "
            f"types, from 0: it is another model's. {_NAME_ONE}"
        )
    return TextEncoder(
        tokenizer.backend_tokenizer,
        max_length=config.max_sequence_length,
        pad_token_id=pad_token_id(tokenizer, backbone),
        vocab_size=backbone.vocab_size,
        token_types=backbone.type_vocab_size,
        truncation_side=tokenizer.truncation_side,
    )


_NAME_ONE = (
    "Name the model's tokenizer with --tokenizer of train or import (a directory or a hub name), or save it into the "
    "model's directory: "
    "AutoTokenizer.from_pretrained(NAME).save_pretrained(DIRECTORY)."
)


def _some_texts(rows: Sequence[Row]) -> list[str]:
    """Return texts of at most `_ROWS_LOOKED_AT` rows from all over, each cut."""
    step = math.ceil(len(rows) / _ROWS_LOOKED_AT) or 1
    return [part[:_CHARACTERS_LOOKED_AT] for row in rows[::step] for part in (row.text, row.text_pair) if part]


def _read(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Any]:
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    return backend.encode_batch(list(texts), add_special_tokens=False)


def _unknown_ids(tokenizer: PreTrainedTokenizerBase) -> set[int | None]:
    """Return the ids of unknown words: what the vocabulary says, whatever the files beside it call that token."""
    backend = tokenizer.backend_tokenizer
    name = getattr(backend.model, "unk_token", None)
    own = None if name is None else backend.token_to_id(name)
    return {tokenizer.unk_token_id, own, getattr(backend.model, "unk_id", None)} - {None}


def _from_transformers(source: str | Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(str(source), use_fast=True)


def _file(source: str | Path, name: str) -> Path | None:
    path = cached_file(
        str(source),
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else Path(path)


def _check_documents(source: str | Path) -> None:
    """Refuse a damaged file by its name, which transformers does not say."""
    for name in (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        try:
            path = _file(source, name)
        except OSError:  # no directory, and no name that a hub could have
            return
        try:
            document = {} if path is None else json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} could not be read: {error}. {_NAME_ONE}") from error
        if not isinstance(document, dict):
            raise CheckpointError(f"{path} holds no object, but {type(document).__name__}. {_NAME_ONE}")


def _as_its_file_says(tokenizer: PreTrainedTokenizerBase, file: Path) -> PreTrainedTokenizerBase:
    try:
        own = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(f"{file} could not be read: {error}") from error
    _add_tokens_beside(tokenizer, own, file)
    own.no_padding()
    own.no_truncation()
    named = {name: getattr(tokenizer, name) for name in _NAMED_TOKENS}
    made = PreTrainedTokenizerFast(
        tokenizer_object=own,
        model_max_length=tokenizer.model_max_length,
        truncation_side=tokenizer.truncation_side,
        split_special_tokens=tokenizer.split_special_tokens,
        **{name: token for name, token in named.items() if token is not None and own.token_to_id(token) is not None},
    )
    own.encode_special_tokens = tokenizer.split_special_tokens
    made._tokenizer = own  # as it was read: the class may have added to its copy
    return made


def _add_tokens_beside(tokenizer: PreTrainedTokenizerBase, own: Tokenizer, file: Path) -> None:
    """Add the tokens that other files beside ``tokenizer.json`` name."""
    beside = {str(getattr(tokenizer, name)) for name in _NAMED_TOKENS}
    for id, token in sorted(tokenizer.added_tokens_decoder.items()):
        if own.token_to_id(token.content) is None and token.content not in beside:
            own.add_tokens([token])
            if own.token_to_id(token.content) != id:
                raise CheckpointError(
                    f"{file} and the files beside it disagree: the token {token.content!r} is added with the id {id}, "
                    f"which the file gives to {own.id_to_token(id)!r}. Save the tokenizer again with save_pretrained."
                )


def _check_normalizer(source: str | Path, file: Path) -> None:
    """Refuse a ``tokenizer_config.json`` that says something else than ``tokenizer.json``."""
    config = _file(source, "tokenizer_config.json")
    try:
        document = json.loads(file.read_bytes())
        said = {} if config is None else json.loads(config.read_bytes())
        parts = list(_parts(document.get("normalizer")))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{file} or tokenizer_config.json beside it could not be read: {error}") from error
    for part in parts:
        for name, field in _BERT_NORMALIZER.items() if part.get("type") == "BertNormalizer" else ():
            asked, does = said.get(name), part.get(field)
            if isinstance(asked, bool) and isinstance(does, bool) and asked != does:
                raise CheckpointError(
                    f"{config} says {name}={str(asked).lower()}, but the normalizer in {file} has "
                    f"{field}={str(does).lower()}. Only one can be how the model was trained: make them agree."
                )


def _parts(normalizer: Any) -> Iterator[dict[str, Any]]:
    if isinstance(normalizer, dict):
        yield normalizer
        for part in normalizer.get("normalizers", ()):
            yield from _parts(part)
