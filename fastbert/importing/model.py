"""From another program's tensors to a FastBERT model: what all formats share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from fastbert.configuration import FastBertConfig
from fastbert.data.labels import checked_names
from fastbert.families import check_activation
from fastbert.importing.files import find_file
from fastbert.importing.findings import Findings
from fastbert.importing.tensors import check_shapes, require
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.errors import CheckpointError, UsageError


@dataclass(frozen=True)
class Request:
    """The arguments of `fastbert.importing.import_checkpoint`."""

    checkpoint: Path
    output: Path
    config: Path | None = None
    bert_config: Path | None = None
    vocab: Path | None = None
    labels: tuple[str, ...] | None = None
    max_length: int | None = None
    tokenizer: str | None = None


@dataclass(frozen=True)
class Foreign:
    """Another program's model in FastBERT's terms.

    :param names: parameter of the FastBERT model -> tensor of the file.
    :param source: the config that the shapes come from, for messages.
    :param vocabulary: number of tokens.
    """

    config: FastBertConfig
    tokenizer: PreTrainedTokenizerBase
    names: Mapping[str, str]
    source: str
    vocabulary: int


def build_model(path: Path, tensors: Mapping[str, torch.Tensor], foreign: Foreign) -> FastBertForSequenceClassification:
    """Check every shape and load the tensors. The model's buffers stay empty: it can be saved, not run.

    :raises CheckpointError: tensors are missing or have the wrong shape, or the activation cannot be exported.
    """
    check_activation(foreign.config.backbone_config)
    require(path, tensors, foreign.names.values())
    with torch.device("meta"):  # shapes only, so that a wrong config costs no memory
        model = FastBertForSequenceClassification(foreign.config)
    expected = {foreign.names[name]: tuple(value.shape) for name, value in model.state_dict().items()}
    check_shapes(path, tensors, expected, foreign.source)
    state = {ours: tensors[theirs].clone() for ours, theirs in foreign.names.items()}
    model.load_state_dict(state, strict=True, assign=True)
    model.eval()
    return model


def label_names(request: Request, classes: int, tensor: str, findings: Findings) -> list[str]:
    """Return the class names by index: those of the request, or 0, 1 ...

    :param tensor: the tensor that the number of classes was read from, for messages.
    :raises CheckpointError: the request has more or fewer.
    :raises UsageError: a name is empty or repeated.
    """
    if request.labels is None:
        findings.assumed.append(
            f"labels {', '.join(map(str, range(classes)))}: the file has no names; `labels` sets them"
        )
        return [str(index) for index in range(classes)]
    if len(request.labels) != classes:
        raise CheckpointError(
            f"{request.checkpoint}: {tensor} has {classes} classes, but `labels` has {len(request.labels)}: "
            f"{', '.join(request.labels)}."
        )
    if len(set(request.labels)) < classes:
        raise UsageError(f"`labels` repeats a name: {', '.join(request.labels)}.")
    try:
        return checked_names("`labels`", request.labels)
    except CheckpointError as error:
        raise UsageError(str(error)) from error


def find_vocabulary(request: Request, named: str | None, config: Path) -> Path:
    """Return the vocabulary file: that of the request, or the one that a config names.

    :raises CheckpointError: it cannot be found.
    """
    if request.vocab is not None:
        return request.vocab
    if named is None:
        raise CheckpointError(f"{config} names no vocabulary. Pass the checkpoint's vocab.txt as `vocab`.")
    path = find_file(named, [config, request.checkpoint])
    if path is None:
        raise CheckpointError(
            f"The vocabulary {named} that {config} names is neither beside it nor beside {request.checkpoint}. "
            "Pass it as `vocab`."
        )
    return path


def sequence_limit(request: Request, usual: int, origin: str, positions: int, findings: Findings) -> int:
    """Return the longest sequence in tokens, special tokens included.

    :param usual: the default; ``origin`` says where it comes from.
    :param positions: rows of the position table.
    :raises UsageError: the request has more than ``positions``.
    """
    if request.max_length is None:
        if usual > positions:
            findings.assumed.append(
                f"sequences are truncated to {positions} tokens, the rows of the position table ({origin}: {usual})"
            )
        else:
            findings.assumed.append(f"sequences are truncated to {usual} tokens ({origin})")
        return min(usual, positions)
    if not 1 < request.max_length <= positions:
        raise UsageError(f"`max_length` is {request.max_length}; this model takes 2 to {positions} tokens.")
    return request.max_length


def note_undistilled(request: Request, exits: list[int], reason: str, findings: Findings) -> None:
    """Warn about exits that were never trained."""
    findings.undistilled_exits.extend(exits)
    if exits:
        findings.warnings.append(
            f"The exits after layers {', '.join(map(str, exits))} of {request.checkpoint} were never distilled: "
            f"{reason}. Their answers are random. Train them: "
            f"fastbert train {request.output} --phase distill --unlabeled TEXTS --output DIR"
        )
