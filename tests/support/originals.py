"""The original implementations in a few lines: random checkpoints as they save them, and their answers on one text.

Written from what they compute, in float64, sharing no code with fastbert. Text is split by Google's BERT tokenizer.
"""

import json
import math
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import gelu, linear, relu, softmax

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnop"
WORDS = [*"这家酒店很好差不书的", *LETTERS, *(f"##{letter}" for letter in LETTERS), *"!.,[]", "good", "##ness"]
TEXTS = [
    "这家酒店很好!",
    "good goodness",
    "",
    "Bad, [SEP] ÉCLAIR 不好。[sep] [MASK]",
    "好" * 70,
    "a b c d e f g h",
    "\u2028书 \x01的\ufffd",
    "差[CLS]书 x[SEP]",
]


@dataclass(frozen=True)
class Shape:
    """A model's sizes; ``head`` is the width of its exit heads."""

    layers: int = 3
    hidden: int = 24
    heads: int = 3
    inner: int = 40
    head: int = 16
    head_heads: int = 4
    classes: int = 3
    positions: int = 48
    types: int = 2
    activation: str = "gelu"


def make_vocabulary(path: Path, *, first: int = 0, blank: int = 0) -> dict[str, int]:
    """Write a vocab.txt whose special tokens start at line ``first``, then ``blank`` lines without a token."""
    tokens = [*WORDS[:first], *SPECIAL, *[""] * blank, *WORDS[first:]]
    path.write_bytes("".join(f"{token}\n" for token in tokens).encode())
    return {token: index for index, token in enumerate(tokens) if token}


def _random(shape: tuple[int, ...], scale: float, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator) * scale


def _linear(state: dict[str, torch.Tensor], name: str, inputs: int, outputs: int, generator: torch.Generator) -> None:
    state[f"{name}.weight"] = _random((outputs, inputs), 1.2 * inputs**-0.5, generator)
    state[f"{name}.bias"] = _random((outputs,), 0.2, generator)


def _norm(state: dict[str, torch.Tensor], name: str, width: int, generator: torch.Generator) -> None:
    state[f"{name}.gamma"] = 1 + _random((width,), 0.2, generator)
    state[f"{name}.beta"] = _random((width,), 0.2, generator)


def bitvoyage_state(shape: Shape, vocabulary: int, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return what BitVoyage's train.py saves after stage 1."""
    generator, state = torch.Generator().manual_seed(seed), {}
    for name, rows in (("word", vocabulary), ("position", shape.positions), ("token_type", shape.types)):
        state[f"embeddings.{name}_embeddings.weight"] = _random((rows, shape.hidden), 0.5, generator)
    _norm(state, "embeddings.LayerNorm", shape.hidden, generator)
    for layer in range(shape.layers):
        prefix = f"graph.layers.{layer}"
        for part in ("query", "key", "value"):
            _linear(state, f"{prefix}.attention.self.{part}", shape.hidden, shape.hidden, generator)
        _linear(state, f"{prefix}.attention.output.dense", shape.hidden, shape.hidden, generator)
        _norm(state, f"{prefix}.attention.output.LayerNorm", shape.hidden, generator)
        _linear(state, f"{prefix}.intermediate.dense", shape.hidden, shape.inner, generator)
        _linear(state, f"{prefix}.output.dense", shape.inner, shape.hidden, generator)
        _norm(state, f"{prefix}.output.LayerNorm", shape.hidden, generator)
    names = [f"layer_classifiers.branch_classifier_{layer}" for layer in range(shape.layers - 1)]
    for name in [*names, "layer_classifiers.final_classifier"]:
        prefix = f"graph.{name}"
        _linear(state, f"{prefix}.dense_narrow", shape.hidden, shape.head, generator)
        for part in ("query", "key", "value"):
            _linear(state, f"{prefix}.selfAttention.{part}", shape.head, shape.head, generator)
        _linear(state, f"{prefix}.dense_prelogits", shape.head, shape.head, generator)
        _linear(state, f"{prefix}.dense_logits", shape.head, shape.classes, generator)
    last = "graph.layer_classifiers.final_classifier."
    state |= {
        f"graph.layer_classifier.{name.removeprefix(last)}": value
        for name, value in state.items()
        if name.startswith(last)
    }
    return state


def bitvoyage_configs(folder: Path, shape: Shape, vocabulary: int, **changes: Any) -> Path:
    """Write the op config and the BERT config that it names; ``changes`` go to either, None removes a key."""
    bert = {
        "vocab_size": vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.types,
        "hidden_act": shape.activation,
        "layer_norm_eps": 1e-5,
    }
    op = {
        "vocab_file": "./models/vocab.txt",
        "bert_config_path": "./models/bert_config.json",
        "num_class": shape.classes,
        "cls_hidden_size": shape.head,
        "cls_num_attention_heads": shape.head_heads,
        "max_seq_len": 32,
    }
    for document in (bert, op):
        document.update({key: value for key, value in changes.items() if key in document})
    (folder / "models").mkdir(exist_ok=True)
    (folder / "config").mkdir(exist_ok=True)
    for path, document in (("models/bert_config.json", bert), ("config/fastbert_cls.json", op)):
        kept = {key: value for key, value in document.items() if value is not None}
        (folder / path).write_text(json.dumps(kept), encoding="utf-8")
    return folder / "config" / "fastbert_cls.json"


def bitvoyage_logits(state: dict[str, torch.Tensor], shape: Shape, ids: list[int]) -> torch.Tensor:
    """Return its logits of every exit on one unpadded text: float64 [layers, classes]."""
    state = {name: value.double() for name, value in state.items()}

    def apply(name: str, value: torch.Tensor) -> torch.Tensor:
        return linear(value, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, value: torch.Tensor) -> torch.Tensor:
        centered = value - value.mean(-1, keepdim=True)
        variance = centered.pow(2).mean(-1, keepdim=True)
        return state[f"{name}.gamma"] * centered / (variance + 1e-12).sqrt() + state[f"{name}.beta"]

    activation = {"gelu": gelu, "relu": relu}[shape.activation]
    words = torch.tensor(ids)
    hidden = state["embeddings.word_embeddings.weight"][words]
    hidden = hidden + state["embeddings.position_embeddings.weight"][: len(ids)]
    hidden = norm("embeddings.LayerNorm", hidden + state["embeddings.token_type_embeddings.weight"][0])
    logits = []
    for layer in range(shape.layers):
        prefix = f"graph.layers.{layer}"
        parts = [apply(f"{prefix}.attention.self.{part}", hidden) for part in ("query", "key", "value")]
        attended = apply(f"{prefix}.attention.output.dense", _attend(*parts, shape.heads))
        attended = norm(f"{prefix}.attention.output.LayerNorm", attended + hidden)
        inner = activation(apply(f"{prefix}.intermediate.dense", attended))
        hidden = norm(f"{prefix}.output.LayerNorm", apply(f"{prefix}.output.dense", inner) + attended)
        last = layer == shape.layers - 1
        head = f"graph.layer_classifiers.{'final_classifier' if last else f'branch_classifier_{layer}'}"
        narrow = apply(f"{head}.dense_narrow", hidden)
        parts = [apply(f"{head}.selfAttention.{part}", narrow) for part in ("query", "key", "value")]
        first = apply(f"{head}.dense_prelogits", _attend(*parts, shape.head_heads)[0])
        logits.append(apply(f"{head}.dense_logits", first))
    return torch.stack(logits)


def uer_state(shape: Shape, vocabulary: int, *, prefix: str = "kernel.", seed: int = 0) -> dict[str, torch.Tensor]:
    """Return what the authors' code saves: the package with ``prefix="kernel."``, run_fastbert.py with ``""``."""
    generator, state = torch.Generator().manual_seed(seed), {}
    for name, rows in (("word", vocabulary), ("position", shape.positions), ("segment", shape.types)):
        state[f"{prefix}embedding.{name}_embedding.weight"] = _random((rows, shape.hidden), 0.5, generator)
    _norm(state, f"{prefix}embedding.layer_norm", shape.hidden, generator)
    for layer in range(shape.layers):
        block = f"{prefix}encoder.transformer.{layer}"
        for number in range(3):
            _linear(state, f"{block}.self_attn.linear_layers.{number}", shape.hidden, shape.hidden, generator)
        _linear(state, f"{block}.self_attn.final_linear", shape.hidden, shape.hidden, generator)
        _norm(state, f"{block}.layer_norm_1", shape.hidden, generator)
        _linear(state, f"{block}.feed_forward.linear_1", shape.hidden, shape.inner, generator)
        _linear(state, f"{block}.feed_forward.linear_2", shape.inner, shape.hidden, generator)
        _norm(state, f"{block}.layer_norm_2", shape.hidden, generator)
    if prefix:
        _linear(state, f"{prefix}target.mlm_linear_1", shape.hidden, shape.hidden, generator)
    for layer in range(shape.layers):
        head = f"classifiers.{layer}"
        _linear(state, f"{head}.output_layer_0", shape.hidden, shape.head, generator)
        for number in range(3):
            _linear(state, f"{head}.self_atten.linear_layers.{number}", shape.head, shape.head, generator)
        _linear(state, f"{head}.self_atten.final_linear", shape.head, shape.head, generator)
        _linear(state, f"{head}.output_layer_1", shape.head, shape.head, generator)
        _linear(state, f"{head}.output_layer_2", shape.head, shape.classes, generator)
    return state


def uer_config(folder: Path, shape: Shape, **changes: Any) -> Path:
    """Write the model's config; None removes a key."""
    document = {
        "emb_size": shape.hidden,
        "feedforward_size": shape.inner,
        "hidden_size": shape.hidden,
        "heads_num": shape.heads,
        "layers_num": shape.layers,
        "dropout": 0.1,
        "embedding": "bert",
        "encoder": "bert",
        "pooling": "first",
        "vocab_path": "vocab.txt",
    } | changes
    kept = {key: value for key, value in document.items() if value is not None}
    (folder / "model.json").write_text(json.dumps(kept), encoding="utf-8")
    return folder / "model.json"


def uer_logits(state: dict[str, torch.Tensor], shape: Shape, ids: list[int], segments: list[int]) -> torch.Tensor:
    """Return the authors' logits of every exit on one text, padded to all positions: float64 [layers, classes]."""
    prefix = "kernel." if any(name.startswith("kernel.") for name in state) else ""
    state = {name: value.double() for name, value in state.items()}
    padding = shape.positions - len(ids)
    words, types = torch.tensor(ids + [0] * padding), torch.tensor(segments + [0] * padding)
    mask = (types == 0).double() * -10000.0

    def apply(name: str, value: torch.Tensor) -> torch.Tensor:
        return linear(value, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, value: torch.Tensor) -> torch.Tensor:
        std = value.std(-1, keepdim=True)
        return state[f"{name}.gamma"] * (value - value.mean(-1, keepdim=True)) / (std + 1e-6) + state[f"{name}.beta"]

    def attention(name: str, value: torch.Tensor, heads: int) -> torch.Tensor:
        parts = [apply(f"{name}.linear_layers.{number}", value) for number in range(3)]
        return apply(f"{name}.final_linear", _attend(*parts, heads, mask))

    hidden = state[f"{prefix}embedding.word_embedding.weight"][words]
    hidden = hidden + state[f"{prefix}embedding.position_embedding.weight"]
    hidden = norm(f"{prefix}embedding.layer_norm", hidden + state[f"{prefix}embedding.segment_embedding.weight"][types])
    logits = []
    for layer in range(shape.layers):
        block, head = f"{prefix}encoder.transformer.{layer}", f"classifiers.{layer}"
        attended = norm(f"{block}.layer_norm_1", attention(f"{block}.self_attn", hidden, shape.heads) + hidden)
        inner = gelu(apply(f"{block}.feed_forward.linear_1", attended))
        hidden = norm(f"{block}.layer_norm_2", apply(f"{block}.feed_forward.linear_2", inner) + attended)
        narrow = attention(f"{head}.self_atten", apply(f"{head}.output_layer_0", hidden).tanh(), 2)
        logits.append(apply(f"{head}.output_layer_2", apply(f"{head}.output_layer_1", narrow[0]).tanh()))
    return torch.stack(logits)


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, mask: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """Multi-head attention: [sequence, width] each -> [sequence, width]."""
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in (query, key, value))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + mask
    return (softmax(scores, -1) @ value).transpose(0, 1).flatten(1)


def words_of(text: str, keeps_special: bool) -> list[str]:
    """Google's BasicTokenizer in lower case; with ``keeps_special`` as UER has it, without as BitVoyage does."""
    cleaned = []
    for character in text:
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            cleaned.append(" ")
        elif not (category.startswith("C") or character in "\0\ufffd"):
            cleaned.append(f" {character} " if _is_cjk(ord(character)) else character)
    words: list[str] = []
    for token in "".join(cleaned).split():
        if keeps_special and token in SPECIAL:
            words.append(token)
            continue
        new = True
        for character in unicodedata.normalize("NFD", token.lower()):
            category = unicodedata.category(character)
            if category == "Mn":
                continue
            if category.startswith("P") or character in "$+<=>^`|~":
                words.append(character)
                new = True
            elif new:
                words.append(character)
                new = False
            else:
                words[-1] += character
    return " ".join(words).split()


def ids_of(text: str, vocabulary: dict[str, int], *, keeps_special: bool, length: int, first: int) -> list[int]:
    """Return ``first`` and the ids of a text, cut to ``length``."""
    ids = [first]
    for word in words_of(text, keeps_special):
        pieces, start = [], 0
        while start < len(word) <= 100:
            found = [
                (end, piece)
                for end in range(len(word), start, -1)
                if (piece := ("##" if start else "") + word[start:end]) in vocabulary
            ]
            if not found:
                break
            start = found[0][0]
            pieces.append(vocabulary[found[0][1]])
        ids += pieces if start == len(word) else [vocabulary["[UNK]"]]
    return ids[:length]


def _is_cjk(code: int) -> bool:
    ranges = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)]
    ranges += [(0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]
    return any(low <= code <= high for low, high in ranges)
