"""Hugging Face sequence classifiers: the backbone as it is, and the classifier as the last exit.

The exits before it are fresh: ``fastbert train --phase distill`` trains them, and also accepts such a directory itself.
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

_SEED = 42


def read(request: Request, findings: Findings) -> tuple[FastBertForSequenceClassification, PreTrainedTokenizerBase]:
    """Load the classifier and its tokenizer.

    :raises CheckpointError: no classifier or no fast tokenizer, the family is unknown, or the number of labels
        is wrong.
    """
    for name in ("config", "bert_config", "vocab"):
        if (value := getattr(request, name)) is not None:
            findings.ignored.append(f"`{name}` {value}: a Hugging Face directory has its own")
    torch.manual_seed(_SEED)  # for the fresh exits
    model = start_from(request.checkpoint, labels=None, exit_head=ExitHeadConfig(), max_length=1, keep_classifier=True)
    tokenizer = load_tokenizer(request.checkpoint if request.tokenizer is None else request.tokenizer)
    if request.tokenizer is not None:
        warn_if_ids_differ(request.checkpoint, request.tokenizer, tokenizer)
    config = model.config
    if request.labels is not None:
        labels = label_names(request, len(config.labels), "its classifier", findings)
        config.update(label_maps(labels))
    positions = position_limit(config.backbone_config)
    usual = min(tokenizer_limit(tokenizer) or positions, positions)
    config.max_sequence_length = sequence_limit(request, usual, "the tokenizer's limit", positions, findings)
    backbone = config.backbone_config
    findings.recognised += [
        f"backbone: {backbone.model_type}, {config.num_exits} layers, hidden size {backbone.hidden_size}",
        f"classifier: {len(config.labels)} classes, kept as the last exit",
    ]
    note_undistilled(request, list(range(config.num_exits - 1)), "a plain classifier has none", findings)
    return model.eval(), tokenizer
