"""Checkpoints of the paper authors' code, which is built on UER.

The same tensors have two layouts: ``fit()`` of the authors' package saves the encoder under ``kernel.``,
``run_fastbert.py`` without that prefix. The code does the following, which its files do not say: the layer norm divides
by (unbiased std + 1e-6); tokens have segment id 1, padding 0, a second text 2; a single text is ``[CLS]`` and its
tokens, without ``[SEP]``; exit heads have 2 attention heads and tanh after both dense layers. ``run_fastbert.py`` uses
the ids 101 and 102 for ``[CLS]`` and ``[SEP]``, whatever the vocabulary says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig

from fastbert.configuration import ExitHeadConfig, FastBertConfig
from fastbert.data.labels import label_maps
from fastbert.importing.files import integer, read_json, text
from fastbert.importing.findings import Findings
from fastbert.importing.model import Foreign, Request, find_vocabulary, label_names, note_undistilled, sequence_limit
from fastbert.importing.tensors import layers_of, linear_names, looks_untrained, norm_names, require
from fastbert.importing.wordpiece import read_vocabulary, wordpiece_tokenizer
from fastbert.runtime.errors import CheckpointError

_EPSILON = 1e-6
_USUAL_LENGTH = 128  # in the package and in the script
_SCRIPT_IDS = {"[CLS]": 101, "[SEP]": 102}
_ENCODER = "encoder.transformer."

# ours -> theirs, without ".weight" and ".bias"
_LINEARS = {
    "attention.self.query": "self_attn.linear_layers.0",
    "attention.self.key": "self_attn.linear_layers.1",
    "attention.self.value": "self_attn.linear_layers.2",
    "attention.output.dense": "self_attn.final_linear",
    "intermediate.dense": "feed_forward.linear_1",
    "output.dense": "feed_forward.linear_2",
}
_NORMS = {"attention.output.LayerNorm": "layer_norm_1", "output.LayerNorm": "layer_norm_2"}
_EMBEDDINGS = {"word": "word", "position": "position", "token_type": "segment"}
_HEAD = {
    "narrow": "output_layer_0",
    "query": "self_atten.linear_layers.0",
    "key": "self_atten.linear_layers.1",
    "value": "self_atten.linear_layers.2",
    "attention_output": "self_atten.final_linear",
    "dense": "output_layer_1",
    "classifier": "output_layer_2",
}


def matches(tensors: Mapping[str, Any]) -> bool:
    """Whether tensors have the names of this format."""
    heads = any(name.startswith("classifiers.") for name in tensors)
    return heads and any(name.startswith((_ENCODER, f"kernel.{_ENCODER}")) for name in tensors)


def read(request: Request, tensors: Mapping[str, torch.Tensor], findings: Findings) -> Foreign:
    """Read the config and the vocabulary, and map the tensors to the model.

    :raises CheckpointError: the config or the vocabulary is missing or does not match the tensors.
    """
    if request.config is None:
        raise CheckpointError(
            f"{request.checkpoint} does not say how many attention heads it has. Pass the config that the model was "
            "trained with (such as google_bert_base_zh.json or bert_base_config.json) as `config`."
        )
    path, document = request.config, read_json(request.config)
    _check_kind(path, document)
    prefix = "kernel." if any(name.startswith(f"kernel.{_ENCODER}") for name in tensors) else ""
    layers = integer(path, document, "layers_num", layers_of(tensors, f"{prefix}{_ENCODER}"))
    _check_layers(request, tensors, layers, prefix)
    names = _names(layers, prefix)
    require(request.checkpoint, tensors, names.values())

    words = tensors[f"{prefix}embedding.word_embedding.weight"]
    backbone = _backbone(path, document, tensors, layers, prefix)
    vocabulary_path = find_vocabulary(request, text(path, document, "vocab_path"), path)
    vocabulary = read_vocabulary(vocabulary_path)
    if len(vocabulary) != words.shape[0]:
        raise CheckpointError(
            f"{vocabulary_path} has {len(vocabulary)} tokens, but {prefix}embedding.word_embedding.weight of "
            f"{request.checkpoint} has {words.shape[0]} rows. Pass the checkpoint's vocabulary as `vocab`."
        )
    max_length = sequence_limit(
        request,
        _USUAL_LENGTH,
        "the original's usual seq_length; `max_length` sets it",
        backbone["max_position_embeddings"],
        findings,
    )
    classes = _classes(request, tensors, layers)
    labels = label_names(request, classes, "classifiers.0.output_layer_2.weight", findings)
    head = ExitHeadConfig.uer(size=tensors["classifiers.0.output_layer_0.weight"].shape[0])
    _describe(path, tensors, names, backbone, head, findings)
    _note_heads(request, tensors, layers, findings)
    findings.recognised.append(f"vocabulary: {len(vocabulary)} tokens in {vocabulary_path.name}")
    config = FastBertConfig(
        BertConfig(**backbone, layer_norm_eps=_EPSILON, pad_token_id=vocabulary["[PAD]"]),
        exit_head=head,
        max_sequence_length=max_length,
        distilled=not findings.undistilled_exits,
        layer_norm="unbiased",
        default_token_type=1,
        **label_maps(labels),
    )
    special_ids = _special_ids(vocabulary, script=not prefix, findings=findings)
    tokenizer = wordpiece_tokenizer(
        vocabulary,
        single="[CLS]:1 $A:1",
        pair="[CLS]:1 $A:1 [SEP]:1 $B:2 [SEP]:2" if "[SEP]" in special_ids else "[CLS]:1 $A:1 $B:2",
        special_ids=special_ids,
        keeps_special=True,
        max_length=max_length,
    )
    return Foreign(config, tokenizer, names, str(path), len(vocabulary))


def _check_kind(path: Path, document: dict[str, Any]) -> None:
    for key, supported in (("embedding", "bert"), ("encoder", "bert"), ("pooling", "first")):
        value = document.get(key, supported)
        if value != supported:
            raise CheckpointError(f"{path}: {key} is {value!r}; only {supported!r} can be imported.")


def _backbone(
    path: Path, document: dict[str, Any], tensors: Mapping[str, torch.Tensor], layers: int, prefix: str
) -> dict[str, Any]:
    """Return the arguments of a Hugging Face BertConfig, from the config or else from the tensors."""
    words, positions, segments = (
        tensors[f"{prefix}embedding.{kind}_embedding.weight"] for kind in ("word", "position", "segment")
    )
    if words.ndim != 2 or positions.ndim != 2 or segments.ndim != 2:
        raise CheckpointError(f"{prefix}embedding.* holds tensors that are not tables. The file is damaged.")
    hidden = integer(path, document, "hidden_size", words.shape[1])
    inner = tensors[f"{prefix}{_ENCODER}0.feed_forward.linear_1.weight"].shape[0]
    heads = integer(path, document, "heads_num")
    if integer(path, document, "emb_size", hidden) != hidden:
        raise CheckpointError(f"{path}: emb_size differs from hidden_size; the original cannot run this either.")
    if hidden % heads:
        raise CheckpointError(f"{path}: hidden_size {hidden} cannot be split into {heads} attention heads.")
    return {
        "vocab_size": words.shape[0],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": integer(path, document, "feedforward_size", inner),
        "max_position_embeddings": positions.shape[0],
        "type_vocab_size": segments.shape[0],
        "hidden_act": "gelu",
    }


def _check_layers(request: Request, tensors: Mapping[str, Any], layers: int, prefix: str) -> None:
    for what, held in (
        (f"{prefix}{_ENCODER}", layers_of(tensors, f"{prefix}{_ENCODER}")),
        ("classifiers.", layers_of(tensors, "classifiers.")),
    ):
        if held > layers:
            raise CheckpointError(
                f"{request.checkpoint} has {held} layers (up to {what}{held - 1}), but {request.config} says "
                f"layers_num {layers}. Name the config that this checkpoint was trained with."
            )


def _classes(request: Request, tensors: Mapping[str, torch.Tensor], layers: int) -> int:
    counts = [tensors[f"classifiers.{layer}.output_layer_2.weight"].shape[0] for layer in range(layers)]
    for layer, count in enumerate(counts):
        if count != counts[-1]:
            raise CheckpointError(
                f"{request.checkpoint}: classifiers.{layer}.output_layer_2.weight has {count} classes, "
                f"classifiers.{layers - 1}.output_layer_2.weight has {counts[-1]}. The file is damaged."
            )
    return counts[-1]


def _special_ids(vocabulary: dict[str, int], *, script: bool, findings: Findings) -> dict[str, int]:
    ids = {token: vocabulary[token] for token in _SCRIPT_IDS if token in vocabulary}
    if script and ids != _SCRIPT_IDS:
        findings.assumed.append("ids 101 and 102 for [CLS] and [SEP], as in run_fastbert.py; the vocabulary has others")
        return dict(_SCRIPT_IDS)
    return ids


def _describe(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    names: Mapping[str, str],
    backbone: dict[str, Any],
    head: ExitHeadConfig,
    findings: Findings,
) -> None:
    layout = (
        "package (kernel.*)" if "kernel." in names["backbone.embeddings.word_embeddings.weight"] else "run_fastbert.py"
    )
    findings.recognised += [
        f"layout: {layout}",
        f"backbone: {backbone['num_hidden_layers']} layers, hidden size {backbone['hidden_size']}, "
        f"{backbone['num_attention_heads']} attention heads (from {path.name})",
        f"exit heads: width {head.size}",
    ]
    findings.assumed += [
        f"layer norm by unbiased std + {_EPSILON:g}, gelu, {head.heads} attention heads and tanh in the exit heads, as "
        "in the original code",
        "a text is [CLS] and its tokens, in lower case, without [SEP], with token type 1; in a pair each text ends in "
        "[SEP], and the second has token type 2",
    ]
    used = set(names.values())
    leftovers = [name for name in tensors if name.startswith(("kernel.target.", "target."))]
    if leftovers:
        findings.ignored.append(
            f"{len(leftovers)} tensors {leftovers[0].partition('target.')[0]}target.*: left over from pre-training"
        )
    others = sorted(name for name in tensors if name not in used and name not in leftovers)
    if others:
        findings.ignored.append(f"{len(others)} unknown tensors, first {', '.join(others[:10])}")


def _note_heads(request: Request, tensors: Mapping[str, torch.Tensor], layers: int, findings: Findings) -> None:
    untrained = [
        layer
        for layer in range(layers - 1)
        if looks_untrained(tensors, [f"classifiers.{layer}.{theirs}" for theirs in _HEAD.values()])
    ]
    note_undistilled(request, untrained, "their weights are still the initial ones", findings)


def _names(layers: int, prefix: str) -> dict[str, str]:
    names = {
        f"backbone.embeddings.{ours}_embeddings.weight": f"{prefix}embedding.{theirs}_embedding.weight"
        for ours, theirs in _EMBEDDINGS.items()
    }
    names |= norm_names("backbone.embeddings.LayerNorm", f"{prefix}embedding.layer_norm")
    for layer in range(layers):
        ours, theirs = f"backbone.encoder.layer.{layer}", f"{prefix}{_ENCODER}{layer}"
        for part, their_part in _LINEARS.items():
            names |= linear_names(f"{ours}.{part}", f"{theirs}.{their_part}")
        for part, their_part in _NORMS.items():
            names |= norm_names(f"{ours}.{part}", f"{theirs}.{their_part}")
    for layer in range(layers):
        for part, their_part in _HEAD.items():
            names |= linear_names(f"exits.{layer}.{part}", f"classifiers.{layer}.{their_part}")
    return names
