"""Tokenizers as the model families have them, trained on given texts, and texts that are hard to tokenize."""

import random
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_VOCABULARY = 6000


def wordpiece(vocabulary: Sequence[str], **options: bool | None) -> Tokenizer:
    """Return a tokenizer of BERT, as transformers writes it.

    :param vocabulary: tokens in the order of their ids.
    :param options: of `BertNormalizer`.
    """
    ids = {token: index for index, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    chosen = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True, **options}
    tokenizer.normalizer = normalizers.BertNormalizer(**chosen)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(BERT_TOKENS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def byte_level(texts: Iterable[str], normalizer: normalizers.Normalizer | None = None, **options: bool) -> Tokenizer:
    """Return a trained tokenizer of RoBERTa.

    :param options: of the pre-tokenizer `ByteLevel`.
    """
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **options})
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=ROBERTA_TOKENS[:4], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    sep, cls = (("</s>", 2), ("<s>", 0))
    tokenizer.post_processor = processors.RobertaProcessing(sep, cls)
    return tokenizer


def unigram(
    texts: Iterable[str], normalizer: normalizers.Normalizer | None, pre_tokenizer: pre_tokenizers.PreTokenizer
) -> Tokenizer:
    """Return a trained tokenizer of XLM-RoBERTa or CamemBERT."""
    tokenizer = Tokenizer(models.Unigram())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.UnigramTrainer(
        vocab_size=_VOCABULARY, special_tokens=ROBERTA_TOKENS[:4], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def words_bpe(texts: Iterable[str], pre_tokenizer: pre_tokenizers.PreTokenizer, **options: object) -> Tokenizer:
    """Return a trained BPE tokenizer of characters, with options of the model."""
    tokenizer = Tokenizer(models.BPE(**options))  # type: ignore[arg-type]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizer
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256) if options.get("byte_fallback"))]
    affixes = {
        "continuing_subword_prefix": options.get("continuing_subword_prefix"),
        "end_of_word_suffix": options.get("end_of_word_suffix"),
    }
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY // 2,
        special_tokens=special,
        limit_alphabet=200,
        show_progress=False,
        **{name: value for name, value in affixes.items() if value},
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    return tokenizer


def with_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer with added tokens of every kind."""
    tokenizer.add_tokens(
        [
            AddedToken("@user", normalized=False),
            AddedToken("@username", normalized=False, single_word=True),
            AddedToken("Http", normalized=True),
            AddedToken("URL", normalized=True, single_word=True),
            AddedToken("<L>", normalized=False, lstrip=True),
            AddedToken("<R>", normalized=False, rstrip=True),
            AddedToken("<B>", normalized=True, lstrip=True, rstrip=True),
            AddedToken("\u4f60\u597d", normalized=True),
            AddedToken("é", normalized=True, single_word=True),
            AddedToken("naïve", normalized=False, single_word=True, lstrip=True),
            AddedToken("  ", normalized=False),
            AddedToken(".", normalized=True, rstrip=True),
        ]
    )
    return tokenizer


def charsmap(replacements: dict[str, str]) -> bytes:
    """Return a table for the normalizer `Precompiled`: a double-array trie whose nodes have 256 units each, and texts.

    :param replacements: string -> what it becomes; no string is empty or has a NUL.
    """
    nodes: list[dict[int, int]] = [{}]  # byte -> node
    values: dict[int, int] = {}
    texts = b""
    for key, replacement in replacements.items():
        node = 0
        for byte in key.encode():
            if byte not in nodes[node]:
                nodes[node][byte] = len(nodes)
                nodes.append({})
            node = nodes[node][byte]
        values[node] = len(texts)
        texts += replacement.encode() + b"\0"
    units = [0] * (256 * (len(nodes) + 1))
    places = {0: 0}
    for node, children in enumerate(nodes):  # a child comes after its parent
        base, place = 256 * (node + 1), places[node]
        units[place] |= (place ^ base) << 10
        if node in values:
            units[place] |= 1 << 8
            units[base] = values[node] | 1 << 31
        for byte, child in children.items():
            places[child] = base ^ byte
            units[base ^ byte] = byte
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts


def xlm_roberta_split(scheme: str = "always") -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer of XLM-RoBERTa and CamemBERT."""
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme=scheme)])


def cases(texts: Sequence[str], vocabularies: dict[str, list[str]], table: bytes) -> dict[str, Callable[[], Tokenizer]]:
    """Return tokenizers by name.

    :param texts: to train on.
    :param vocabularies: of WordPiece, by name.
    :param table: of the normalizer `Precompiled`.
    """
    few = texts[:2000]
    return {
        **{f"wordpiece {name}": partial(wordpiece, words) for name, words in vocabularies.items()},
        **_wordpiece_cases(next(iter(vocabularies.values()))),
        **_byte_level_cases(texts, few),
        **_unigram_cases(texts, few, table),
        **_word_cases(texts),
    }


def _wordpiece_cases(words: list[str]) -> dict[str, Callable[[], Tokenizer]]:
    return {
        "wordpiece lowercase=False": partial(wordpiece, words, lowercase=False),
        "wordpiece strip_accents=True lowercase=False": partial(wordpiece, words, strip_accents=True, lowercase=False),
        "wordpiece strip_accents=False": partial(wordpiece, words, strip_accents=False),
        "wordpiece clean_text=False": partial(wordpiece, words, clean_text=False),
        "wordpiece handle_chinese_chars=False": partial(wordpiece, words, handle_chinese_chars=False),
        "wordpiece added tokens": lambda: with_added_tokens(wordpiece(words)),
    }


def _byte_level_cases(texts: Sequence[str], few: Sequence[str]) -> dict[str, Callable[[], Tokenizer]]:
    n = normalizers
    return {
        "byte-level": partial(byte_level, texts),
        "byte-level add_prefix_space": partial(byte_level, texts, add_prefix_space=True),
        "byte-level use_regex=False": partial(byte_level, few, use_regex=False),
        "byte-level NFKC lowercase": partial(byte_level, texts, n.Sequence([n.NFKC(), n.Lowercase()])),
        "byte-level NFD accents": partial(byte_level, texts, n.Sequence([n.NFD(), n.StripAccents(), n.Strip()])),
        "byte-level added tokens": lambda: with_added_tokens(byte_level(texts, add_prefix_space=True)),
    }


def _unigram_cases(texts: Sequence[str], few: Sequence[str], table: bytes) -> dict[str, Callable[[], Tokenizer]]:
    n, p = normalizers, pre_tokenizers
    precompiled, xlm_roberta = n.Precompiled(table), xlm_roberta_split()
    one_space, one_mark = n.Replace(Regex(" {2,}"), " "), n.Replace(Regex(" {2,}"), "▁")
    camembert = n.Sequence([n.Strip(left=False, right=True), precompiled, one_mark])
    nmt = n.Sequence([n.Nmt(), n.NFKC(), one_space, n.Strip()])
    marked = n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁"), n.NFC()])
    plain = n.Sequence([n.NFKD(), n.StripAccents(), n.Lowercase()])
    return {
        "unigram xlm-roberta": partial(unigram, texts, precompiled, xlm_roberta),
        "unigram camembert": partial(unigram, texts, camembert, xlm_roberta),
        "unigram spaces": partial(unigram, texts, n.Sequence([precompiled, one_space]), p.Metaspace()),
        "unigram never": partial(unigram, texts, precompiled, xlm_roberta_split("never")),
        "unigram first": partial(unigram, texts, precompiled, p.Metaspace(prepend_scheme="first")),
        "unigram nmt, unsplit": partial(unigram, few, nmt, p.Metaspace(split=False)),
        "unigram prepend": partial(unigram, texts, marked, p.Split("▁", "merged_with_next")),
        "unigram NFKD": partial(unigram, texts, plain, p.Sequence([p.Digits(True), p.Metaspace()])),
        "unigram added tokens": lambda: with_added_tokens(unigram(texts, precompiled, xlm_roberta)),
    }


def _word_cases(texts: Sequence[str]) -> dict[str, Callable[[], Tokenizer]]:
    p, unknown = pre_tokenizers, {"unk_token": "<unk>"}
    digits, punctuation = (
        p.Sequence([p.Whitespace(), p.Digits(False)]),
        p.Sequence([p.WhitespaceSplit(), p.Punctuation()]),
    )
    numbers = p.Split(Regex("[0-9]|,"), "contiguous")
    return {
        "words": partial(words_bpe, texts, p.Whitespace(), **unknown),
        "words fuse_unk": partial(words_bpe, texts, digits, **unknown, fuse_unk=True, end_of_word_suffix="</w>"),
        "words byte_fallback": partial(words_bpe, texts, punctuation, **unknown, byte_fallback=True),
        "words prefix": partial(words_bpe, texts, p.BertPreTokenizer(), continuing_subword_prefix="##"),
        "words ignore_merges": partial(words_bpe, texts, numbers, **unknown, ignore_merges=True),
    }


_POOLS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJ XYZ",
    "0123456789²½Ⅷ①٣५𝟘",
    " \t\n\r\u00a0\u3000\u2003\u2028\u205f\u1680\x0b\x0c\x85\u200b",
    "!?.,;:'\"()[]{}<>@#$%^&*-_=+|\\/~`«»“”‘’…。、，！？（）《》·¿¡‽⸮﹏﹐",
    "\u0300\u0301\u0302\u0308\u0323\u0327\u0345\u0338\u20d2\u093f\u094d\u0e31\u302a\u3099\u1ab0\u1abf\u0334",
    "éèêëñçüöäåæœßÀÉÎÕÜÇİıŁłĐđŞşŽžÅΩΌσςΣ",
    "\u0130\u01c5\u1e9e\u2126\u212a\u212b\ufb01\ufb03\u0149\u01f0\u0390\u1fb3\ufdfa\u3300\u33ff\u2474\u2460\uff21\uff41\uff71\uff9e",
    "中文电影好看的不是我你他这那年月日豈更車鉀𠀀𪜀\uf900\ufa0e\u2f00\u3007\u3400\u4dbf\u9fff\U00020000\U0002b820\U0002b920\U0002f800",
    "ひらがなカタカナがぎｶﾞ゛゜ー",
    "한국어가각\u1100\u1161\u11a8\u1112\u1175\ud7a3\uac01\u115f",
    "ابجدهوزחטיםעברית\u0640\u064b\u0651\u06cc\u200f\u202b\u202e\u2066",
    "हिन्दीক্ষதமிழ்ไทยລາວမြန်မာ\u1160",
    "\x00\x01\x07\x08\x0e\x1b\x7f\x80\x9f\xad\u200b\u200c\u200d\u200e\u2060\ufeff\ufffd\ufffc\ufff9\ue000\U000e0001\U0010ffff\ufdd0\uffff",
    "😀😃👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🇫🇷❤️☺️©®™⭐🫠🪿",
    "𝒜𝓑𝕏𝟙ﬀⓐ㎏℡№½¼ª㊤㍻ﷲ\u1e9b\u0323\u2150\ua7f2\U0001e030\U00010781\U00011938\U00011935\U00011930",
    "\u1c89\ua7cb\U00010d50\U00016ea0\u0897\u08e2\u180e\u2e5d\u061d\u1734\U00010d40\U0001ccf0\U00013430",
    "▁_⁄\u2044\u0337",
]
_STRINGS = [
    "[SEP]", "[CLS]", "[MASK]", "[PAD]", "[UNK]", "<s>", "</s>", "<mask>", "<unk>", "<pad>", "@user", "@username",
    "HTTP", "http", "URL", "url", "<L>", "<R>", "<B>", "<b>", "\u4f60\u597d", "é", "E\u0301", "naïve", "  ", "##ing",
    "##", "▁the", "don't", "we'll", "I've", "they're", "'s", "'", "x" * 101, "y" * 100, "é" * 100, "中" * 120,
    "e\u0301" * 60, " " * 9, "good", "film", "the movie", "unaffable", "...", "--", "\r\n", "a\u0308\u0323", "<0x0A>",
    "\u200d", "\ufe0f", "Ġ", "ﬁ\u0301",
]  # fmt: skip


def fuzzed_texts(count: int, seed: int) -> list[str]:
    """Return random texts: characters of every script, marks, controls, unassigned code points, special tokens."""
    made = random.Random(seed)
    return [_fuzzed(made) for _ in range(count)]


def _fuzzed(made: random.Random) -> str:
    parts: list[str] = []
    for _ in range(made.choice((1, 2, 3, 5, 8, 13, 20))):
        kind = made.random()
        if kind < 0.25:
            parts.append(made.choice(_STRINGS))
        elif kind < 0.32:
            parts.append(" ")
        elif kind < 0.40:
            parts.append(chr(made.randrange(0xD800)) if kind < 0.36 else _any_character(made))
        else:
            pool = made.choice(_POOLS)
            parts.append("".join(made.choice(pool) for _ in range(made.choice((1, 1, 2, 3, 6)))))
    return "".join(parts)


def _any_character(made: random.Random) -> str:
    code = made.randrange(0x110000 - 0x800)
    return chr(code if code < 0xD800 else code + 0x800)


def read_rows(folder: Path, name: str = "*") -> list[tuple[str, ...]]:
    """Return the texts of every row of the sets in a folder, which are folders of tab-separated files with a header."""
    rows: list[tuple[str, ...]] = []
    for path in sorted(folder.glob(f"{name}/*.tsv")):
        lines = path.read_text(encoding="utf-8").split("\n")
        columns = [index for index, name in enumerate(lines[0].split("\t")) if name.startswith("text")]
        rows += [tuple(line.split("\t")[column] for column in columns) for line in lines[1:] if line]
    return rows
