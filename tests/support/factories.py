"""Tiny random checkpoints, rows and files that tests make."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from fastbert.checkpoint import Checkpoint
from fastbert.configuration import ExitHeadConfig, FastBertConfig
from fastbert.data.labels import label_maps
from fastbert.data.rows import Row
from fastbert.families import FAMILIES
from fastbert.modeling import FastBertForSequenceClassification

LABELS = ("negative", "neutral", "positive")
WORDS = "good bad fine film plot actor dull bright slow quick very not a the and so more less of it".split()


def make_tokenizer(family: str = "bert") -> PreTrainedTokenizerFast:
    """Words to ids, with the special tokens and their numbers of the family."""
    special = (
        ["<s>", "<pad>", "</s>", "<unk>"]
        if "after" in FAMILIES[family].positions
        else ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    )
    start, end, pad, unknown = (special[i] for i in ((0, 2, 1, 3) if special[0] == "<s>" else (1, 2, 0, 3)))
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    numbers = [(start, vocabulary[start]), (end, vocabulary[end])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} $A {end} $B:1 {end}:1", special_tokens=numbers
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token=unknown, cls_token=start, sep_token=end
    )


def wordpiece_tokenizer() -> Tokenizer:
    """BERT's own kind of tokenizer, with the ids of `make_tokenizer`."""
    tokenizer = make_tokenizer().backend_tokenizer
    tokenizer.model = models.WordPiece(tokenizer.get_vocab(), unk_token="[UNK]")
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def make_backbone_config(family: str = "bert", *, layers: int = 3, hidden: int = 32, vocabulary: int = 24):
    extra = {"embedding_size": 16} if family == "electra" else {"use_task_id": True} if family == "ernie" else {}
    return AutoConfig.for_model(
        family,
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=66,
        type_vocab_size=1 if FAMILIES[family].positions == "after_padding_idx" else 2,
        pad_token_id=1 if FAMILIES[family].positions == "after_padding_idx" else 0,
        **extra,
    )


def make_checkpoint(
    family: str = "bert", *, layers: int = 3, head: ExitHeadConfig | None = None, labels=LABELS, seed: int = 0
) -> Checkpoint:
    """Random weights, large enough that exits are sometimes certain and padding would show."""
    torch.manual_seed(seed)
    config = FastBertConfig(
        make_backbone_config(family, layers=layers),
        exit_head=head or ExitHeadConfig(size=16),
        max_sequence_length=48,
        distilled=True,
        **label_maps(labels),
    )
    model = FastBertForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("backbone") and "LayerNorm" not in name:
                parameter.mul_(2.0)
            if name.endswith("classifier.weight"):
                parameter.mul_(2.5)
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return Checkpoint(model, make_tokenizer(family), tuple(make_rows(40, seed=seed)))


def make_rows(count: int, *, seed: int = 0, pairs: bool = False) -> list[Row]:
    """Texts whose label follows from their words, of lengths 0 to 30."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        words = generator.choices(WORDS, k=generator.randint(0, 30))
        score = words.count("good") + words.count("bright") - words.count("bad") - words.count("dull")
        pair = " ".join(generator.choices(WORDS, k=5)) if pairs else None
        rows.append(Row(" ".join(words), pair, LABELS[(score > 0) - (score < 0) + 1]))
    return rows


def write_tsv(path: Path, rows: list[Row], *, labels: bool = True) -> Path:
    lines = [f"{row.label}\t{row.text}" if labels else row.text for row in rows]
    path.write_bytes("\n".join(["label\ttext" if labels else "text", *lines, ""]).encode())
    return path


def save_backbone(path, family="bert", classifier=None):
    torch.manual_seed(0)
    config = make_backbone_config(family, layers=2)
    if classifier:
        config.num_labels = classifier
    loader = AutoModelForSequenceClassification if classifier else AutoModel
    model = loader.from_config(config)
    model.save_pretrained(path)
    make_tokenizer(family).save_pretrained(path)
    return model.eval()


def make_classifier(folder, family="bert", labels=LABELS, **changes):
    """Write a random Hugging Face classifier whose answers vary, and return it."""
    torch.manual_seed(1)
    config = make_backbone_config(family)
    config.update(label_maps(labels) | changes)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" not in name:
                parameter.normal_(std=0.15)
    model.save_pretrained(folder)
    make_tokenizer(family).save_pretrained(folder)
    return model
