"""The BERT tokenizer of the original programs, as a `tokenizers` pipeline.

Both programs use Google's Python tokenizer (``BasicTokenizer``, then ``WordpieceTokenizer``). ``BertNormalizer`` and
``BertPreTokenizer`` of the library differ from it in the following, so this one is assembled from parts, at no cost in
speed.

============================  ==================================  =========================================
input                         original                            BertNormalizer and BertPreTokenizer
============================  ==================================  =========================================
capital sigma at a word's     Python's ``str.lower``: final sigma  always a medial sigma
end
U+2B820 to U+2B91F            CJK: one word per character         part of a word (2B920 for 2B820)
marks and punctuation newer   Python's Unicode tables             tables of Unicode 8
than 2015
``[SEP]`` in a text           BitVoyage splits it; UER keeps it   always kept, even inside a word
                              where it is a separate word
============================  ==================================  =========================================
"""

from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from fastbert.runtime.errors import CheckpointError

_SPECIAL = ("UNK", "SEP", "PAD", "CLS", "MASK")
_REQUIRED = ("[PAD]", "[UNK]", "[CLS]")
_LONGEST_WORD = 100  # characters; a longer one is [UNK]
_CASED = r"[\p{Lu}\p{Ll}\p{Lt}]"
_CASE_IGNORABLE = r"[\p{Mn}\p{Me}\p{Cf}\p{Lm}\p{Sk}'.:·’]"
_MARKER = "\ue000"  # private use: removed from texts by the cleaning step


def read_vocabulary(path: Path) -> dict[str, int]:
    r"""Read a ``vocab.txt``: one token per line; the line number, from 0, is its id.

    Lines end at "\n" only: U+2028 is a token of Google's Chinese vocabulary. A byte order mark is dropped. A line with
    tabs (in ERNIE's file) gives its first field. The last of equal tokens counts. A line without a token keeps its id,
    under a name that is in no text.

    :raises CheckpointError: the file is missing, it is not UTF-8, or it lacks a token that every model needs.
    """
    if not path.is_file():
        raise CheckpointError(f"The vocabulary {path} does not exist. Pass another one as `vocab`.")
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CheckpointError(f"{path}, line {line}: not UTF-8. Pass a vocab.txt as `vocab`.") from error
    if not lines[-1]:
        lines.pop()
    ids = {token: index for index, line in enumerate(lines) if (token := line.split("\t")[0].strip())}
    missing = [token for token in _REQUIRED if token not in ids]
    if missing:
        raise CheckpointError(
            f"{path} has no token {', '.join(missing)} among its {len(lines)} lines. Pass the checkpoint's "
            "vocab.txt as `vocab`."
        )
    by_id = {index: token for token, index in ids.items()}
    return {by_id.get(index, f"[line {index + 1}]"): index for index in range(len(lines))}


def wordpiece_tokenizer(
    vocabulary: dict[str, int],
    *,
    single: str,
    pair: str,
    special_ids: dict[str, int],
    keeps_special: bool,
    max_length: int,
) -> PreTrainedTokenizerFast:
    """Build the tokenizer. It lowercases, as both programs do.

    :param single: template of one text with its token types, such as ``"[CLS]:0 $A:0"``.
    :param pair: template of two texts.
    :param special_ids: ids of the tokens in the templates.
    :param keeps_special: whether ``[SEP]`` as a separate word in a text is that token.
    :param max_length: longest sequence in tokens, special tokens included.
    """
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=_LONGEST_WORD))
    tokenizer.normalizer = normalizers.Sequence(_normalizers(keeps_special))
    special = "|".join(_SPECIAL)
    words = rf"\[(?:{special})\]|" if keeps_special else ""
    words += "[\U0002b820-\U0002b91f]|\\p{P}|[$+<=>^`|~]"  # the last: ASCII symbols that BERT treats as punctuation
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.WhitespaceSplit()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=list(special_ids.items())
    )
    named = {f"{name.lower()}_token": f"[{name}]" for name in _SPECIAL if f"[{name}]" in vocabulary}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_length, split_special_tokens=True, **named
    )


def _normalizers(keeps_special: bool) -> list[normalizers.Normalizer]:
    special = "|".join(_SPECIAL)
    mark = normalizers.Replace(Regex(rf"(?<!\S)\[(?=(?:{special})\](?!\S))"), _MARKER)
    unmark = [normalizers.Replace(f"{_MARKER}{name.lower()}]", f"[{name}]") for name in _SPECIAL]
    final_sigma = rf"{_CASED}{_CASE_IGNORABLE}*\KΣ(?!{_CASE_IGNORABLE}*{_CASED})"  # \K: replace only what follows
    return [
        normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False),
        *([mark] if keeps_special else []),
        normalizers.Replace(Regex(final_sigma), "ς"),
        normalizers.Lowercase(),
        normalizers.NFD(),
        normalizers.Replace(Regex(r"[\p{Mn}\p{Cf}]"), ""),
        *(unmark if keeps_special else []),
    ]
