"""Hugging Face sequence classifiers: the backbone as it is, and the classifier as the last exit.

The exits before it are fresh and wait for ``fastbert train --phase distill``, which also takes such a directory itself.
"""

import torch
from transformers import PreTrainedTokenizerBase

from fastbert.checkpoint import start_from
from fastbert.configuration import ExitHeadConfig
from fastbert.data.labels import label_maps
from fastbert.families import position_limit
from fastbert.importing.findings import Findings
from fastbert.importing.model import Request, label_names, note_undistilled, sequence_limit
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.tokenization import load_tokenizer, tokenizer_limit, warn_if_ids_differ

__all__ = ["read"]

_SEED = 42


def read(request: Request, found: Findings) -> tuple[FastBertForSequenceClassification, PreTrainedTokenizerBase]:
    """Load the classifier and its tokenizer.

    :raises CheckpointError: no classifier, an unknown family, no fast tokenizer, or other classes than named.
    """
    for option, value in (
        ("--config", request.config),
        ("--bert-config", request.bert_config),
        ("--vocab", request.vocab),
    ):
        if value is not None:
            found.ignored.append(f"{option} {value}: a Hugging Face directory has its own")
    torch.manual_seed(_SEED)  # the fresh exits
    model = start_from(request.checkpoint, labels=None, exit_head=ExitHeadConfig(), max_length=1, keep_classifier=True)
    tokenizer = load_tokenizer(request.checkpoint if request.tokenizer is None else request.tokenizer)
    if request.tokenizer is not None:
        warn_if_ids_differ(request.checkpoint, request.tokenizer, tokenizer)
    config = model.config
    if request.labels is not None:
        labels = label_names(request, config.num_labels, "its classifier", found)
        config.update(label_maps(labels))
    positions = position_limit(config.backbone_config)
    usual = min(tokenizer_limit(tokenizer) or positions, positions)
    config.max_sequence_length = sequence_limit(request, usual, "the tokenizer's limit", positions, found)
    backbone = config.backbone_config
    found.recognised += [
        f"backbone: {backbone.model_type}, {config.num_exits} layers, hidden size {backbone.hidden_size}",
        f"classifier: {config.num_labels} classes, kept as the last exit",
    ]
    note_undistilled(request, list(range(config.num_exits - 1)), "a plain classifier has none", found)
    return model.eval(), tokenizer
