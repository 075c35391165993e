"""A tiny bundle with a WordPiece tokenizer, and its packed files."""

from dataclasses import replace

import pytest
from support.factories import make_checkpoint
from support.packed import Packed
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from fastbert.export import Bounds, ExportOptions, export_bundle, pack


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    checkpoint = make_checkpoint()
    export_bundle(
        replace(checkpoint, tokenizer=_word_pieces(checkpoint.tokenizer)),
        folder / "bundle",
        ExportOptions(precisions=("fp32", "int8"), bounds=Bounds(max_label_flips=0.2)),  # random weights
    )
    files = {variant: folder / f"{variant}.onnx" for variant in ("fp32", "int8")}
    for variant, path in files.items():
        pack(folder / "bundle", path, variant=variant)
    return Packed(folder / "bundle", files)


def _word_pieces(words):
    """Return a WordPiece tokenizer as BERT's, with the vocabulary of a tokenizer of words."""
    backend = words.backend_tokenizer
    tokenizer = Tokenizer(models.WordPiece(backend.get_vocab(), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = backend.post_processor
    names = {name: getattr(words, name) for name in ("pad_token", "unk_token", "cls_token", "sep_token")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
