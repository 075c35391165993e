"""Checkpoint directories: an ordinary Hugging Face directory, plus a few real rows kept for verification.

::

    config.json  model.safetensors  tokenizer.json ...    written and read with save_pretrained / from_pretrained
    sample_rows.jsonl                                     dev rows that the export checks its engines on
    training.json                                         how it was trained: options, steps, accuracy of every exit
"""

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerBase,
)

from fastbert.configuration import ExitHeadConfig, FastBertConfig
from fastbert.data.labels import class_names, placeholders_as
from fastbert.data.rows import Row
from fastbert.families import Family, check_activation, family_of, position_limit
from fastbert.files.atomic import replace_directory
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.errors import CheckpointError, UsageError
from fastbert.tokenization import load_tokenizer

__all__ = [
    "CHECKPOINT_FILES",
    "TRAINING",
    "Checkpoint",
    "describe_checkpoint",
    "load_checkpoint",
    "save_checkpoint",
    "start_from",
]

SAMPLE_ROWS = "sample_rows.jsonl"
TRAINING = "training.json"
_USUAL_MAX_LENGTH = 128
# What a checkpoint of any version holds, so that a new one in its place leaves none of it: names and patterns.
CHECKPOINT_FILES = (
    *(TRAINING, SAMPLE_ROWS, "config.json", "generation_config.json"),
    *("model*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json"),
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece*.model", "tokenizer.model"),
)
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A model in eval mode, its tokenizer, the rows kept with it and the record of its training."""

    model: FastBertForSequenceClassification
    tokenizer: PreTrainedTokenizerBase
    sample_rows: tuple[Row, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint that `save_checkpoint` wrote.

    :param source: a directory, or a name on a model hub.
    :raises CheckpointError: it is missing, is no FastBERT checkpoint, or its weights do not fit its config.
    """
    config = _fastbert_config(source)
    rows, training = _sample_rows(Path(source) / SAMPLE_ROWS), _training(Path(source) / TRAINING)
    model = _load_weights(FastBertForSequenceClassification, source, config)
    return Checkpoint(model.eval(), load_tokenizer(source), rows, training)


def save_checkpoint(directory: Path, checkpoint: Checkpoint, *, overwrite: bool = False) -> None:
    """Write a checkpoint whole or not at all.

    :raises OutputExistsError: ``directory`` exists and ``overwrite`` is false, or it is no checkpoint.
    """
    with replace_directory(directory, overwrite=overwrite, kind=TRAINING, ours=CHECKPOINT_FILES) as partial:
        checkpoint.model.save_pretrained(partial)
        checkpoint.tokenizer.save_pretrained(partial)
        lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in checkpoint.sample_rows]
        (partial / SAMPLE_ROWS).write_bytes("".join(lines).encode())
        (partial / TRAINING).write_text(json.dumps(checkpoint.training, indent=2) + "\n")


def describe_checkpoint(source: Path) -> dict[str, Any]:
    """Return a checkpoint's configuration in short, without loading its weights.

    :raises CheckpointError: it is missing or no FastBERT checkpoint.
    """
    config = _fastbert_config(source)
    backbone = config.backbone_config
    return {
        "labels": config.labels,
        "max_length": config.max_sequence_length,
        "family": backbone.model_type,
        "layers": config.num_exits,
        "hidden_size": backbone.hidden_size,
        "distilled": config.distilled,
        "exit_head": config.exit_head,
        "teacher_head": config.teacher_head,
        "training": _training(source / TRAINING),
    }


def _sample_rows(path: Path) -> tuple[Row, ...]:
    if not path.is_file():
        return ()
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = Row(**json.loads(line))
            for text in (row.text, *(text for text in (row.text_pair, row.label) if text is not None)):
                text.encode()  # which half a character, as JSON can spell it, has not
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{path}, line {number} is damaged: {error}. Delete the file, or the line."
            ) from error
        found.append(row)
    return tuple(found)


def _training(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_bytes(), object_pairs_hook=_with_new_names)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}. It only records how the model was trained: delete or correct it."
        ) from error
    if not isinstance(record, dict):
        raise CheckpointError(
            f"{path} is damaged: it holds no object. It only records how the model was trained: delete or correct it."
        )
    return record


def _with_new_names(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of a training record: older versions called the phases of training stages."""
    new = {"stage": "phase", "stages": "phases"}
    return {new.get(name, name): value for name, value in pairs}


def start_from(
    source: str | Path,
    *,
    labels: Sequence[str] | None,
    exit_head: ExitHeadConfig | None,
    max_length: int | None,
    keep_classifier: bool,
) -> FastBertForSequenceClassification:
    """Make a model to train, in float32 whatever its weights are stored in.

    A FastBERT checkpoint is taken as it is. Any other Hugging Face model of a known family gives its backbone, and
    new exits are put on it; with ``keep_classifier`` its trained classifier becomes the last exit.

    :param source: a directory, or a name on a model hub.
    :param labels: class names by index; None: the checkpoint's own.
    :param exit_head: of the new exits; None: the paper's head, or a FastBERT checkpoint's own.
    :param max_length: longest sequence, special tokens included; None: 128 or the model's positions if they are fewer,
        or a FastBERT checkpoint's own.
    :raises CheckpointError: unknown family, no such model, no classifier to keep, labels that it does not know, or
        fewer positions than asked.
    :raises UsageError: a FastBERT checkpoint has another exit head or length than asked.
    """
    config = _read_config(source)
    if isinstance(config, FastBertConfig):
        _check_own(source, config, exit_head, max_length)
        _check_labels(source, config.labels, labels)
        check_activation(config.backbone_config)
        return _load_weights(FastBertForSequenceClassification, source, config)
    family = family_of(config)
    check_activation(config)
    limit = position_limit(config)
    if max_length is not None and max_length > limit:
        raise CheckpointError(f"--max-length {max_length} is beyond the {limit} positions of {source}.")
    head, length = exit_head or ExitHeadConfig(), min(_USUAL_MAX_LENGTH, limit) if max_length is None else max_length
    if not keep_classifier:
        if labels is None:
            raise CheckpointError(f"{source} has no classifier, and the training file has no labels to train one on.")
        model = FastBertForSequenceClassification(_new_config(config, labels, head, None, length))
        arguments = {"add_pooling_layer": False} if family.pooler_argument else {}
        backbone = _load_weights(AutoModel, source, config, **arguments)
        model.backbone.load_state_dict(backbone.state_dict())
        return model
    architectures = config.architectures if isinstance(config.architectures, list) else []
    architecture = str([*architectures, "model without a classifier"][0])
    if not architecture.endswith("ForSequenceClassification"):
        raise CheckpointError(
            f"Exits are distilled from a trained classifier, but {source} holds a {architecture}. Fine-tune it first "
            f"(fastbert train {source} --train FILE --output DIR), or name a ...ForSequenceClassification model."
        )
    problem = getattr(config, "problem_type", None) or "single_label_classification"
    if config.num_labels < 2 or problem != "single_label_classification":
        raise CheckpointError(
            f"{source} holds a {architecture} for {problem} with num_labels {config.num_labels}; "
            "exits need a classifier of two or more classes of which one is right."
        )
    names = placeholders_as(class_names(source, config), labels or ())
    _check_labels(source, names, labels)
    return _with_classifier(source, config, family, names, head, length)


def _with_classifier(
    source: str | Path, config: Any, family: Family, labels: Sequence[str], exit_head: ExitHeadConfig, max_length: int
) -> FastBertForSequenceClassification:
    classifier = _load_weights(AutoModelForSequenceClassification, source, config)
    teacher_head = ExitHeadConfig(kind="mlp", size=config.hidden_size, dense_activation=family.classifier_activation)
    model = FastBertForSequenceClassification(_new_config(config, labels, exit_head, teacher_head, max_length))
    backbone = getattr(classifier, classifier.base_model_prefix)
    model.backbone.load_state_dict(
        {key: value for key, value in backbone.state_dict().items() if not key.startswith("pooler.")}
    )
    model.teacher.dense.load_state_dict(classifier.get_submodule(family.classifier_dense).state_dict())
    model.teacher.classifier.load_state_dict(classifier.get_submodule(family.classifier_output).state_dict())
    return model


def _new_config(
    backbone: Any, labels: Sequence[str], exit_head: ExitHeadConfig, teacher: ExitHeadConfig | None, max_length: int
) -> FastBertConfig:
    return FastBertConfig(
        backbone,
        exit_head=exit_head,
        teacher_head=teacher,
        max_sequence_length=max_length,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )


def _check_labels(source: str | Path, known: Sequence[str], labels: Sequence[str] | None) -> None:
    if labels is not None and not set(labels) <= set(known):
        raise CheckpointError(
            f"{source} was trained on the labels {', '.join(known)}; the training file also has "
            f"{', '.join(sorted(set(labels) - set(known)))}. Start from a model without a classifier, or relabel it."
        )


def _check_own(
    source: str | Path, config: FastBertConfig, exit_head: ExitHeadConfig | None, max_length: int | None
) -> None:
    """Refuse options that a FastBERT checkpoint has answered already."""
    if max_length not in (None, config.max_sequence_length):
        raise UsageError(
            f"{source} is a FastBERT checkpoint that cuts texts to {config.max_sequence_length} tokens; --max-length "
            f"{max_length} cannot change that. Leave the option out."
        )
    if exit_head is not None and asdict(exit_head) != config.exit_head:
        raise UsageError(
            f"{source} is a FastBERT checkpoint with the exit heads {ExitHeadConfig(**config.exit_head)}, which "
            "--exit-head and --exit-size cannot change. Leave these options out."
        )


def _read_config(source: str | Path) -> Any:
    if _looks_like_path(source) and not (Path(source) / "config.json").is_file():
        raise CheckpointError(f"{source} is no checkpoint directory: there is no config.json in it.")
    if not Path(source).exists():
        _log.info("There is no directory %s; looking for a model of that name on the hub.", source)
    try:
        config = AutoConfig.from_pretrained(str(source))
    except CheckpointError as error:
        raise CheckpointError(f"The config.json of {source}: {error}") from error
    except Exception as error:
        raise CheckpointError(f"The model {source} could not be read: {_first_line(error)}") from error
    if isinstance(config, FastBertConfig):
        config.id2label = dict(enumerate(class_names(source, config)))
        limit = position_limit(config.backbone_config)
        if config.max_sequence_length > limit:
            raise CheckpointError(
                f"The config.json of {source} has max_sequence_length={config.max_sequence_length}, beyond the {limit} "
                "positions of its backbone. Correct it."
            )
    return config


def _fastbert_config(source: str | Path) -> FastBertConfig:
    config = _read_config(source)
    if not isinstance(config, FastBertConfig):
        raise CheckpointError(
            f"{source} holds a plain {config.model_type!r} model, without exits. "
            f"Train them first: fastbert train {source} --train FILE --output DIR"
        )
    return config


def _looks_like_path(source: str | Path) -> bool:
    return isinstance(source, Path) or Path(source).exists() or source.startswith((".", "/", "~"))


def _load_weights(loader: Any, source: str | Path, config: Any, **arguments: Any) -> Any:
    """Load weights in float32 and refuse missing ones, those of another shape, and layers left over."""
    try:
        model, report = loader.from_pretrained(
            str(source),
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **arguments,
        )
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"The weights of {source} could not be read: {_first_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointError(
            f"The weights of {source} lack {len(missing)} tensors that its config.json needs, "
            f"first {', '.join(missing[:10])}."
        )
    others = sorted((name, tuple(held), tuple(asked)) for name, held, asked in report["mismatched_keys"])
    if others:
        shown = "; ".join(f"{name} is {held}, expected {asked}" for name, held, asked in others[:5])
        raise CheckpointError(
            f"{len(others)} tensors of {source} have another shape than its config.json asks for: {shown}. Correct "
            "config.json: sizes by their names, the number of classes by id2label."
        )
    _check_layers(source, config, report["unexpected_keys"])
    return model


def _check_layers(source: str | Path, config: Any, unexpected: Iterable[str]) -> None:
    """Refuse a FastBERT checkpoint with more layers than its config names; say so of another model.

    transformers leaves such layers out in silence.
    """
    left = {int(match[1]) for name in unexpected if (match := _LAYER.search(name))}
    if not left:
        return
    found = f"The weights of {source} have the layers {', '.join(map(str, sorted(left)))} beyond those of config.json"
    if isinstance(config, FastBertConfig):
        raise CheckpointError(f"{found}, whose num_hidden_layers was changed. Correct it.")
    _log.warning("%s, whose num_hidden_layers is %d. They are not used.", found, config.num_hidden_layers)


def _first_line(error: Exception) -> str:
    """Return the first line of what an error says; the second too where the first only announces it."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])


AutoConfig.register("fastbert", FastBertConfig)
AutoModelForSequenceClassification.register(FastBertConfig, FastBertForSequenceClassification)
