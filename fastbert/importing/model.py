"""From another program's tensors to our model: what every format needs alike."""

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

__all__ = ["Foreign", "Request", "build_model", "find_vocabulary", "label_names", "note_undistilled", "sequence_limit"]


@dataclass(frozen=True)
class Request:
    """What the caller of an import said. See `fastbert.importing.import_checkpoint`."""

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
    """Another program's model in our terms.

    :param names: parameter of our model -> tensor of the file.
    :param source: which config the shapes come from, for messages.
    :param vocabulary: number of tokens.
    """

    config: FastBertConfig
    tokenizer: PreTrainedTokenizerBase
    names: Mapping[str, str]
    source: str
    vocabulary: int


def build_model(path: Path, tensors: Mapping[str, torch.Tensor], foreign: Foreign) -> FastBertForSequenceClassification:
    """Check every shape, and load the tensors into our model; buffers stay without data: it is only to be saved.

    :raises CheckpointError: tensors are missing or have another shape than the config asks for, or its activation
        cannot be exported.
    """
    check_activation(foreign.config.backbone_config)
    require(path, tensors, foreign.names.values())
    with torch.device("meta"):  # shapes only, so that a wrong config costs no memory
        model = FastBertForSequenceClassification(foreign.config)
    expected = {foreign.names[name]: tuple(value.shape) for name, value in model.state_dict().items()}
    check_shapes(path, tensors, expected, foreign.source)
    state = {ours: tensors[theirs].clone() for ours, theirs in foreign.names.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def label_names(request: Request, classes: int, tensor: str, found: Findings) -> list[str]:
    """Return the class names by index: the caller's, or 0, 1 ...

    :param tensor: the tensor that the number of classes was read from, for the message.
    :raises CheckpointError: the caller named more or fewer.
    """
    if request.labels is None:
        found.assumed.append(f"labels {', '.join(map(str, range(classes)))}: the file names none (--labels does)")
        return [str(index) for index in range(classes)]
    if len(request.labels) != classes:
        raise CheckpointError(
            f"{request.checkpoint}: {tensor} has {classes} classes, but --labels names {len(request.labels)}: "
            f"{', '.join(request.labels)}."
        )
    if len(set(request.labels)) < classes:
        raise UsageError(f"--labels names a class twice: {', '.join(request.labels)}.")
    try:
        return checked_names("--labels", request.labels)
    except CheckpointError as error:
        raise UsageError(str(error)) from error


def find_vocabulary(request: Request, named: str | None, config: Path) -> Path:
    """Return the vocabulary's file: the caller's, or the one that a config names.

    :raises CheckpointError: it is nowhere.
    """
    if request.vocab is not None:
        return request.vocab
    if named is None:
        raise CheckpointError(f"{config} names no vocabulary. Name the checkpoint's vocab.txt with --vocab.")
    path = find_file(named, [config, request.checkpoint])
    if path is None:
        raise CheckpointError(
            f"The vocabulary {named} that {config} names is neither beside it nor beside {request.checkpoint}. "
            "Name it with --vocab."
        )
    return path


def sequence_limit(request: Request, usual: int, origin: str, positions: int, found: Findings) -> int:
    """Return the longest sequence, special tokens included.

    :param usual: where the caller names none; ``origin`` says where it comes from.
    :param positions: rows of the position table.
    :raises UsageError: the caller asks for more positions than there are.
    """
    if request.max_length is None:
        if usual > positions:
            found.assumed.append(
                f"sequences are cut to {positions} tokens, the rows of the position table ({origin}: {usual})"
            )
        else:
            found.assumed.append(f"sequences are cut to {usual} tokens ({origin})")
        return min(usual, positions)
    if not 1 < request.max_length <= positions:
        raise UsageError(f"--max-length {request.max_length} is outside 2..{positions}, the positions of this model.")
    return request.max_length


def note_undistilled(request: Request, exits: list[int], reason: str, found: Findings) -> None:
    """Warn about exits that were never trained."""
    found.undistilled_exits.extend(exits)
    if exits:
        found.warnings.append(
            f"The exits after layers {', '.join(map(str, exits))} of {request.checkpoint} were never distilled: "
            f"{reason}. Their answers are random. Train them: "
            f"fastbert train {request.output} --phase distill --unlabeled TEXTS --output DIR"
        )
