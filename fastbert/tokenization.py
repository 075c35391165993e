"""Loads the tokenizer of a model as its file defines it, and checks it against the model and against real rows."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils.hub import cached_file

from fastbert.data.rows import Row
from fastbert.messages import first_line
from fastbert.runtime.errors import CheckpointError
from fastbert.runtime.tokenization import TOKENIZER, TextEncoder

_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# Settings of a BertNormalizer: their names in tokenizer_config.json, and in tokenizer.json.
_BERT_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_MAX_UNKNOWN = 0.5  # share of unknown tokens; from here on, the tokenizer or the language of the rows is wrong
_MIN_TOKENS = 8  # fewer prove nothing
_ROWS_CHECKED = 1000
_CHARACTERS_CHECKED = 2000
_COMMON_WORDS = "the of and to a in is it not good bad very film with that this"
_RARE_WORDS = "qzxj \u4e95\u06de \U0001f9ff"
_log = logging.getLogger(__name__)


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer that pads on the right.

    A ``tokenizer.json`` is used unchanged. transformers 5 rebuilds some tokenizers from their vocabulary instead,
    without the normalizer, pre-tokenizer and post-processor of the file.

    :param source: a directory, or a name on a model hub.
    :raises CheckpointError: the tokenizer is missing, it has no words, or its files contradict each other.
    """
    try:
        tokenizer = _from_transformers(source)
    except Exception as error:
        _check_json_files(source)
        raise CheckpointError(
            f"No tokenizer could be loaded from {source}: {first_line(error)}. {_WHAT_TO_DO}"
        ) from error
    if not tokenizer.is_fast:
        raise CheckpointError(
            f"{source} has only a slow tokenizer; fastbert needs one with a {TOKENIZER}. {_WHAT_TO_DO}"
        )
    names = list(dict.fromkeys((TOKENIZER, *type(tokenizer).vocab_files_names.values())))
    file = _file(source, TOKENIZER)
    if file is None and not any(_file(source, name) for name in names[1:]):
        raise CheckpointError(f"{source} has no tokenizer: it has none of {', '.join(names)}. {_WHAT_TO_DO}")
    if file is not None:
        _check_normalizer(source, file)
        tokenizer = _from_file(tokenizer, file)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise CheckpointError(f"The tokenizer of {source} has an empty vocabulary. {_WHAT_TO_DO}")
    try:
        tokenizer.backend_tokenizer.encode(_RARE_WORDS)
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(
            f"The tokenizer of {source} fails on unknown words: {error}. Add a token for them to its vocabulary. "
            f"{_WHAT_TO_DO}"
        ) from error
    tokenizer.padding_side = "right"  # exits classify from the first token
    return tokenizer


def check_vocabulary(source: str | Path, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    """Refuse a tokenizer with ids that the embedding table does not have.

    Tokens such as ``[MASK]``, which transformers adds by default and which are in no text, do not count.

    :param vocab_size: rows of the table.
    :raises CheckpointError: there are such ids.
    """
    in_every_text = set(tokenizer.backend_tokenizer.encode("", "").tokens)
    unused = {getattr(tokenizer, name) for name in _NAMED_TOKENS} - in_every_text
    beyond = {id: token for token, id in tokenizer.get_vocab().items() if id >= vocab_size and token not in unused}
    if beyond:
        shown = ", ".join(f"{beyond[id]!r} ({id})" for id in sorted(beyond)[:5])
        raise CheckpointError(
            f"The tokenizer of {source} has ids beyond the {vocab_size} rows of the model's embedding table: {shown}. "
            "If tokens were added, resize the model before training (model.resize_token_embeddings(len(tokenizer))) "
            "and save both. Otherwise the tokenizer belongs to another model: pass the right one as `tokenizer` to "
            "train or import."
        )


def check_rows(source: str | Path, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> None:
    """Refuse a tokenizer that does not know most tokens of the rows. With few tokens or no rows, only warn.

    :raises CheckpointError: most tokens of the rows are unknown.
    """
    texts = _sample_texts(rows) or [_COMMON_WORDS]
    tokens = [
        encoding.ids or [None] for text, encoding in zip(texts, _encode(tokenizer, texts), strict=True) if text.strip()
    ]
    all_ids = [id for ids in tokens for id in ids]
    unknown_ids = {None, *_unknown_ids(tokenizer)}
    unknown = sum(id in unknown_ids for id in all_ids)
    if not all_ids or unknown < _MAX_UNKNOWN * len(all_ids):
        return
    made = f"{len(all_ids)} tokens that the tokenizer of {source} makes of {len(tokens)} texts"
    problem = f"{unknown} of the {made} are unknown"
    if rows and len(all_ids) >= _MIN_TOKENS:
        raise CheckpointError(f"{problem}: the tokenizer or the language of the texts is wrong. {_WHAT_TO_DO}")
    if rows:
        _log.warning("%s. If other texts give the same, the tokenizer is wrong.", problem)
        return
    _log.warning(
        "The tokenizer of %s knows none of the most common English words. If the texts are in English, the tokenizer "
        "is wrong. `verify_data` checks it on real texts.",
        source,
    )


def compare_with_transformers(source: str | Path, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> None:
    """Warn if transformers would tokenize rows differently than the result of `load_tokenizer`."""
    texts = _sample_texts(rows)
    ours, theirs = _encode(tokenizer, texts), _encode(_from_transformers(source), texts)
    differing = [at for at, text in enumerate(texts) if ours[at].ids != theirs[at].ids]
    if differing:
        first = differing[0]
        _log.warning(
            "transformers tokenizes %d of %d texts differently than the %s of %s, which is used here: %r becomes %s, "
            "and by the file %s.",
            len(differing),
            len(texts),
            TOKENIZER,
            source,
            texts[first][:60],
            " ".join(theirs[first].tokens[:12]),
            " ".join(ours[first].tokens[:12]),
        )


def warn_if_ids_differ(model: str | Path, named: str | Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Warn if the tokenizer in a model's directory gives other ids than the one named for it."""
    try:
        own = load_tokenizer(model).get_vocab()
    except CheckpointError:
        return  # the reason to name another
    vocabulary = tokenizer.get_vocab()
    others = sum(vocabulary.get(token) != id for token, id in own.items())
    if others:
        _log.warning(
            "The tokenizer of %s is used as asked, not that of %s: %d of its %d tokens have another id or none. Leave "
            "`tokenizer` out to use it.",
            named,
            model,
            others,
            len(own),
        )


def pad_token_id(tokenizer: PreTrainedTokenizerBase, backbone_config: Any) -> int:
    """Return the id of padding, which attention masks: the tokenizer's, or else the model's, or else 0.

    An id beyond the embedding table is ignored: that padding token was added only for the tokenizer.
    """
    for known in (tokenizer.pad_token_id, getattr(backbone_config, "pad_token_id", None)):
        if known is not None and 0 <= known < backbone_config.vocab_size:
            return int(known)
    return 0


def tokenizer_limit(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the tokenizer's limit on a sequence, in tokens; None: it has no sensible one."""
    limit = tokenizer.model_max_length
    # tokenizers without a limit have 1e30, -1 or 0
    return int(limit) if isinstance(limit, int | float) and 1 < limit < 1e6 else None


def text_encoder(tokenizer: PreTrainedTokenizerBase, config: Any) -> TextEncoder:
    """Return the encoder of texts for a model, the same as in its bundle.

    :param config: a `fastbert.configuration.FastBertConfig`.
    :raises UsageError: its ``max_sequence_length`` leaves no room for the text.
    :raises CheckpointError: the tokenizer gives a text a token type that the model does not have.
    """
    backbone = config.backbone_config
    highest = max(tokenizer.backend_tokenizer.encode(_COMMON_WORDS).type_ids, default=0)
    if 1 < backbone.type_vocab_size <= highest:
        raise CheckpointError(
            f"The tokenizer gives a text the token type {highest}, but the model has only {backbone.type_vocab_size} "
            f"types, from 0: the tokenizer belongs to another model. {_WHAT_TO_DO}"
        )
    return TextEncoder(
        tokenizer.backend_tokenizer,
        max_length=config.max_sequence_length,
        pad_token_id=pad_token_id(tokenizer, backbone),
        vocab_size=backbone.vocab_size,
        token_types=backbone.type_vocab_size,
        truncation_side=tokenizer.truncation_side,
    )


_WHAT_TO_DO = (
    "Pass the model's tokenizer (a directory or a hub name) as `tokenizer` to train or import, or save it into the "
    "model's directory: AutoTokenizer.from_pretrained(NAME).save_pretrained(DIRECTORY)."
)


def _sample_texts(rows: Sequence[Row]) -> list[str]:
    """Return the beginnings of texts of at most `_ROWS_CHECKED` rows, spread evenly."""
    step = math.ceil(len(rows) / _ROWS_CHECKED) or 1
    return [part[:_CHARACTERS_CHECKED] for row in rows[::step] for part in (row.text, row.text_pair) if part]


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Any]:
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    return list(backend.encode_batch(list(texts), add_special_tokens=False))


def _unknown_ids(tokenizer: PreTrainedTokenizerBase) -> set[int | None]:
    """Return the ids of unknown words, by the vocabulary and by the files beside it, which may name another token."""
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


def _check_json_files(source: str | Path) -> None:
    """Refuse a damaged file by name, which transformers does not give."""
    for name in (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        try:
            path = _file(source, name)
        except OSError:  # neither a directory nor a possible name on a hub
            return
        try:
            document = {} if path is None else json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} could not be read: {error}. {_WHAT_TO_DO}") from error
        if not isinstance(document, dict):
            raise CheckpointError(f"{path} holds a {type(document).__name__}, not a JSON object. {_WHAT_TO_DO}")


def _from_file(tokenizer: PreTrainedTokenizerBase, file: Path) -> PreTrainedTokenizerBase:
    try:
        own = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(f"{file} could not be read: {error}") from error
    _add_tokens_of_other_files(tokenizer, own, file)
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
    made._tokenizer = own  # the class may have added tokens to its copy
    return made


def _add_tokens_of_other_files(tokenizer: PreTrainedTokenizerBase, own: Tokenizer, file: Path) -> None:
    """Add the tokens that files beside ``tokenizer.json`` define."""
    beside = {str(getattr(tokenizer, name)) for name in _NAMED_TOKENS}
    for id, token in sorted(tokenizer.added_tokens_decoder.items()):
        if own.token_to_id(token.content) is None and token.content not in beside:
            own.add_tokens([token])
            if own.token_to_id(token.content) != id:
                raise CheckpointError(
                    f"{file} and the files beside it disagree: the id {id} of the added token {token.content!r} is "
                    f"{own.id_to_token(id)!r} in the file. Save the tokenizer again with save_pretrained."
                )


def _check_normalizer(source: str | Path, file: Path) -> None:
    """Refuse a ``tokenizer_config.json`` that contradicts ``tokenizer.json``."""
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
                    f"{field}={str(does).lower()}. The model was trained with one of them: make the other agree."
                )


def _parts(normalizer: Any) -> Iterator[dict[str, Any]]:
    if isinstance(normalizer, dict):
        yield normalizer
        for part in normalizer.get("normalizers", ()):
            yield from _parts(part)
