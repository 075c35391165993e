"""Checkpoints of the PyTorch implementation BitVoyage/FastBERT (its ``train.py``, both of its training stages).

The code does the following, which its files do not say: the layer norm's epsilon is 1e-12 whatever the BERT config
says; a key that the BERT config lacks has a default; a text is ``[CLS]`` and its tokens, without ``[SEP]``. Its exit
heads see padding, so only its answers on single, unpadded texts are meaningful. Ours mask padding and give those
answers in any batch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig

from fastbert.configuration import ExitHeadConfig, FastBertConfig
from fastbert.data.labels import label_maps
from fastbert.importing.files import find_file, integer, read_json, text
from fastbert.importing.findings import Findings
from fastbert.importing.model import Foreign, Request, find_vocabulary, label_names, note_undistilled, sequence_limit
from fastbert.importing.tensors import layers_of, linear_names, looks_untrained, norm_names, require
from fastbert.importing.wordpiece import read_vocabulary, wordpiece_tokenizer
from fastbert.runtime.errors import CheckpointError

_EPSILON = 1e-12
_ACTIVATIONS = ("gelu", "relu")
_SPARE_ROWS = 128  # embeddings beyond the vocabulary are usual: their number is often rounded up
# The defaults of its BertConfig.
_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 16,
}
_LAYER, _BRANCH = "graph.layers.", "graph.layer_classifiers.branch_classifier_"
_LAST, _TEACHER = "graph.layer_classifiers.final_classifier", "graph.layer_classifier"

# ours -> theirs, without ".weight" and ".bias"
_LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
_HEAD = {
    "narrow": "dense_narrow",
    "query": "selfAttention.query",
    "key": "selfAttention.key",
    "value": "selfAttention.value",
    "dense": "dense_prelogits",
    "classifier": "dense_logits",
}


def matches(tensors: Mapping[str, Any]) -> bool:
    """Whether tensors have the names of this format."""
    return any(name.startswith(_LAYER) for name in tensors) or f"{_TEACHER}.dense_logits.weight" in tensors


def read(request: Request, tensors: Mapping[str, torch.Tensor], findings: Findings) -> Foreign:
    """Read the configs and the vocabulary, and map the tensors to the model.

    :raises CheckpointError: a config or the vocabulary is missing or does not match the tensors.
    """
    if request.config is None:
        raise CheckpointError(
            f"{request.checkpoint} needs its op config (such as fastbert_cls.json). Pass it as `config`."
        )
    op_config = read_json(request.config)
    classes = integer(request.config, op_config, "num_class")
    head = ExitHeadConfig.bitvoyage(
        size=integer(request.config, op_config, "cls_hidden_size"),
        heads=integer(request.config, op_config, "cls_num_attention_heads"),
    )
    bert_path = _bert_config_path(request, op_config, findings)
    backbone = _backbone(bert_path, findings)
    layers = backbone["num_hidden_layers"]
    _check_layers(request, tensors, layers, bert_path)
    names = _names(layers)
    require(request.checkpoint, tensors, [*names.values(), *_head_names(_TEACHER).values()])
    _check_classes(request, tensors, layers, classes)

    vocabulary_path = find_vocabulary(request, text(request.config, op_config, "vocab_file"), request.config)
    vocabulary = read_vocabulary(vocabulary_path)
    _check_vocabulary(
        request, vocabulary_path, len(vocabulary), tensors["embeddings.word_embeddings.weight"].shape[0], findings
    )
    max_length = sequence_limit(
        request,
        integer(request.config, op_config, "max_seq_len"),
        f"max_seq_len of {request.config.name}",
        backbone["max_position_embeddings"],
        findings,
    )
    labels = label_names(request, classes, f"{_LAST}.dense_logits.weight", findings)
    _describe(tensors, backbone, head, bert_path, request.config, findings)
    _note_heads(request, tensors, layers, findings)
    findings.recognised.append(f"vocabulary: {len(vocabulary)} tokens in {vocabulary_path.name}")
    config = FastBertConfig(
        BertConfig(**backbone, layer_norm_eps=_EPSILON, pad_token_id=vocabulary["[PAD]"]),
        exit_head=head,
        max_sequence_length=max_length,
        distilled=not findings.undistilled_exits,
        **label_maps(labels),
    )
    tokenizer = wordpiece_tokenizer(
        vocabulary,
        single="[CLS]:0 $A:0",
        pair="[CLS]:0 $A:0 $B:0",  # the original has no pairs: they are joined to one text
        special_ids={"[CLS]": vocabulary["[CLS]"]},
        keeps_special=False,
        max_length=max_length,
    )
    return Foreign(config, tokenizer, names, f"{bert_path} or {request.config}", len(vocabulary))


def _bert_config_path(request: Request, op_config: dict[str, Any], findings: Findings) -> Path:
    if request.bert_config is not None:
        return request.bert_config
    config = request.config or request.checkpoint
    named = text(config, op_config, "bert_config_path")
    path = find_file(named, [config, request.checkpoint]) if named else None
    if path is not None:
        return path
    others = _bert_configs({config.resolve().parent, request.checkpoint.resolve().parent})
    what = f"The BERT config {named} that {config} names is not there" if named else f"{config} names no BERT config"
    if len(others) != 1:
        raise CheckpointError(f"{what}, neither beside it nor beside {request.checkpoint}. Pass it as `bert_config`.")
    findings.warnings.append(
        f"{what}; {others[0]}, the only one beside it, is used. If it belongs to another model, pass the right one as "
        "`bert_config`: attention heads and activation cannot be checked against the tensors."
    )
    return others[0]


def _bert_configs(folders: set[Path]) -> list[Path]:
    configs = []
    for path in sorted(path for folder in folders for path in folder.glob("*.json")):
        try:
            document = read_json(path)
        except CheckpointError:
            continue
        if "hidden_size" in document and "num_attention_heads" in document:
            configs.append(path)
    return configs


def _backbone(path: Path, findings: Findings) -> dict[str, Any]:
    """Return the arguments of a Hugging Face BertConfig."""
    document = read_json(path)
    values: dict[str, Any] = {"vocab_size": integer(path, document, "vocab_size")}
    for key, default in _DEFAULTS.items():
        values[key] = integer(path, document, key, default)
        if key not in document:
            findings.assumed.append(f"{key} {default}: the original's default, since {path.name} has none")
    values["hidden_act"] = document.get("hidden_act", "gelu")
    if values["hidden_act"] not in _ACTIVATIONS:
        raise CheckpointError(
            f"{path}: hidden_act is {values['hidden_act']!r}; the original supports {', '.join(_ACTIVATIONS)}."
        )
    if values["hidden_size"] % values["num_attention_heads"]:
        raise CheckpointError(
            f"{path}: hidden_size {values['hidden_size']} cannot be split into {values['num_attention_heads']} "
            "attention heads."
        )
    if document.get("layer_norm_eps", _EPSILON) != _EPSILON:
        findings.ignored.append(
            f"layer_norm_eps {document['layer_norm_eps']} of {path.name}: the original does not read it"
        )
    return values


def _check_layers(request: Request, tensors: Mapping[str, Any], layers: int, bert_path: Path) -> None:
    held = layers_of(tensors, _LAYER)
    if held > layers:
        raise CheckpointError(
            f"{request.checkpoint} has {held} layers (up to {_LAYER}{held - 1}), but {bert_path} says "
            f"num_hidden_layers {layers}. Name the config that this checkpoint was trained with."
        )


def _check_classes(request: Request, tensors: Mapping[str, torch.Tensor], layers: int, classes: int) -> None:
    for head in [*(f"{_BRANCH}{layer}" for layer in range(layers - 1)), _LAST]:
        held = tensors[f"{head}.dense_logits.weight"].shape[0]
        if held != classes:
            raise CheckpointError(
                f"{request.checkpoint}: {head}.dense_logits.weight has {held} classes, "
                f"but {request.config} says num_class {classes}. Name the config that this checkpoint was trained with."
            )


def _check_vocabulary(request: Request, path: Path, tokens: int, rows: int, findings: Findings) -> None:
    if tokens > rows:
        raise CheckpointError(
            f"{path} has {tokens} tokens, but embeddings.word_embeddings.weight of {request.checkpoint} has only "
            f"{rows} rows. Pass the checkpoint's vocab.txt as `vocab`."
        )
    if tokens < rows:
        kind = findings.assumed if rows - tokens <= _SPARE_ROWS else findings.warnings
        kind.append(
            f"the last {rows - tokens} of {rows} word embeddings have no token in {path.name}"
            + (": does it belong to this checkpoint?" if kind is findings.warnings else "")
        )


def _describe(
    tensors: Mapping[str, torch.Tensor],
    backbone: dict[str, Any],
    head: ExitHeadConfig,
    bert_path: Path,
    op_path: Path,
    findings: Findings,
) -> None:
    findings.recognised += [
        f"backbone: {backbone['num_hidden_layers']} layers, hidden size {backbone['hidden_size']}, "
        f"{backbone['num_attention_heads']} attention heads, {backbone['hidden_act']} (from {bert_path.name})",
        f"exit heads: width {head.size}, {head.heads} attention heads (from {op_path.name})",
    ]
    findings.assumed += [
        f"layer norm epsilon {_EPSILON:g}, as in the original code",
        "a text is [CLS] and its tokens, in lower case, without [SEP]; [SEP] written in a text is text",
        "exit heads mask padding: the original's do not; these give its answers on single texts",
    ]
    copies = [name for name in tensors if name.startswith(f"{_TEACHER}.")]
    findings.ignored.append(f"{len(copies)} tensors {_TEACHER}.*: the last exit's, saved twice")
    known = {*_names(backbone["num_hidden_layers"]).values(), *copies}
    others = sorted(name for name in tensors if name not in known)
    if others:
        findings.ignored.append(f"{len(others)} unknown tensors, first {', '.join(others[:10])}")


def _note_heads(request: Request, tensors: Mapping[str, torch.Tensor], layers: int, findings: Findings) -> None:
    def equal(first: str, second: str) -> bool:
        pairs = zip(_head_names(first).values(), _head_names(second).values(), strict=True)
        return all(torch.equal(tensors[one], tensors[other]) for one, other in pairs)

    branches = [f"{_BRANCH}{layer}" for layer in range(layers - 1)]
    untrained = [
        layer
        for layer, branch in enumerate(branches)
        if any(equal(branch, other) for other in branches if other != branch)
        or looks_untrained(tensors, [f"{branch}.{theirs}" for theirs in _HEAD.values()])
    ]
    note_undistilled(request, untrained, "they are untrained copies, as stage 0 of train.py leaves them", findings)
    if not equal(_LAST, _TEACHER):
        findings.warnings.append(
            f"{request.checkpoint} has two different last exits: {_LAST} and {_TEACHER}. An old version of the "
            "original fine-tuned the second and answered from the first. The first is used, so the answers are the "
            "original's."
        )


def _names(layers: int) -> dict[str, str]:
    names = {
        f"backbone.embeddings.{kind}_embeddings.weight": f"embeddings.{kind}_embeddings.weight"
        for kind in ("word", "position", "token_type")
    }
    names |= norm_names("backbone.embeddings.LayerNorm", "embeddings.LayerNorm")
    for layer in range(layers):
        ours, theirs = f"backbone.encoder.layer.{layer}", f"{_LAYER}{layer}"
        for part in _LINEARS:
            names |= linear_names(f"{ours}.{part}", f"{theirs}.{part}")
        for part in _NORMS:
            names |= norm_names(f"{ours}.{part}", f"{theirs}.{part}")
    for layer in range(layers):
        names |= {f"exits.{layer}.{name}": tensor for name, tensor in _head_names(_head_of(layer, layers)).items()}
    return names


def _head_of(layer: int, layers: int) -> str:
    return _LAST if layer == layers - 1 else f"{_BRANCH}{layer}"


def _head_names(head: str) -> dict[str, str]:
    return {
        f"{ours}.{kind}": f"{head}.{theirs}.{kind}" for ours, theirs in _HEAD.items() for kind in ("weight", "bias")
    }
