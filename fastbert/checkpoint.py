"""Checkpoint directories: an ordinary Hugging Face directory, plus real rows for verification and a training record.

::

    config.json  model.safetensors  tokenizer.json ...    written and read with save_pretrained / from_pretrained
    sample_rows.jsonl                                     dev rows that the export checks its engines on
    training.json                                         its training: options, steps, accuracy of every exit
"""

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerBase

from fastbert.configuration import ExitHeadConfig, FastBertConfig
from fastbert.data.label_column import some_labels
from fastbert.data.labels import class_names, label_maps, placeholders_as
from fastbert.data.rows import Row
from fastbert.families import Family, check_activation, family_of, keep_layers, position_limit
from fastbert.files.atomic import replace_directory
from fastbert.messages import first_line
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.errors import CheckpointError, UsageError
from fastbert.tokenization import load_tokenizer

TRAINING = "training.json"
MAX_SAMPLE_ROWS = 256  # rows kept in a checkpoint for the export's verification
_SAMPLE_ROWS = "sample_rows.jsonl"
_DEFAULT_MAX_LENGTH = 128
# Names and patterns of the files in a checkpoint of any version. A new one in its place replaces them all.
_CHECKPOINT_FILES = (
    *(TRAINING, _SAMPLE_ROWS, "config.json", "generation_config.json"),
    *("model*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json"),
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece*.model", "tokenizer.model"),
)
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A model in eval mode, its tokenizer, its sample rows and the record of its training."""

    model: FastBertForSequenceClassification
    tokenizer: PreTrainedTokenizerBase
    sample_rows: tuple[Row, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint that `save_checkpoint` wrote.

    :param source: a directory, or a name on a model hub.
    :raises CheckpointError: it is missing, is not a FastBERT checkpoint, or its weights do not match its config.
    """
    config = _fastbert_config(source)
    rows, training = _sample_rows(Path(source) / _SAMPLE_ROWS), _training(Path(source) / TRAINING)
    model = _load_weights(FastBertForSequenceClassification, source, config)
    return Checkpoint(model.eval(), load_tokenizer(source), rows, training)


def save_checkpoint(directory: Path, checkpoint: Checkpoint, *, overwrite: bool = False) -> None:
    """Write a checkpoint in one step: on an error, ``directory`` stays as it was.

    :raises OutputExistsError: ``directory`` exists and ``overwrite`` is false, or it is not a checkpoint.
    """
    with replace_directory(directory, overwrite=overwrite, kind=TRAINING, ours=_CHECKPOINT_FILES) as partial:
        checkpoint.model.save_pretrained(partial)
        checkpoint.tokenizer.save_pretrained(partial)
        lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in checkpoint.sample_rows]
        (partial / _SAMPLE_ROWS).write_bytes("".join(lines).encode())
        (partial / TRAINING).write_text(json.dumps(checkpoint.training, indent=2) + "\n")


def describe_checkpoint(source: Path) -> dict[str, Any]:
    """Return a summary of a checkpoint's configuration, without loading its weights.

    :raises CheckpointError: it is missing or is not a FastBERT checkpoint.
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
        "uncertainty": config.uncertainty,
        "training": _training(source / TRAINING),
    }


def _sample_rows(path: Path) -> tuple[Row, ...]:
    if not path.is_file():
        return ()
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = Row(**json.loads(line))
            for text in (row.text, *(text for text in (row.text_pair, row.label) if text is not None)):
                text.encode()  # JSON can spell an unpaired surrogate, which cannot be encoded
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{path}, line {number} is damaged: {error}. Delete the file, or the line."
            ) from error
        rows.append(row)
    return tuple(rows)


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
            f"{path} is damaged: not a JSON object. It only records how the model was trained: delete or correct it."
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
    layers: int | None = None,
) -> FastBertForSequenceClassification:
    """Make a model to train, in float32 whatever dtype its weights are stored in.

    A FastBERT checkpoint is used unchanged. Another model of a known family gives its backbone, which gets new exits.

    :param source: a directory, or a name on a model hub.
    :param labels: class names by index; None: the checkpoint's own.
    :param exit_head: head of the new exits; None: the paper's head, or a FastBERT checkpoint's own.
    :param max_length: longest sequence in tokens, special tokens included; None: 128, fewer if the model has fewer
        positions, or a FastBERT checkpoint's own.
    :param layers: keep only the first layers of another model's backbone; None: all.
    :param keep_classifier: use the trained classifier of a Hugging Face model as the last exit.
    :raises CheckpointError: the model is missing, its family is unknown, it has no classifier to keep, it lacks a
        label, or it has fewer than ``max_length`` positions.
    :raises UsageError: a FastBERT checkpoint has another exit head or length, or another model has fewer layers.
    """
    config = _read_config(source)
    if isinstance(config, FastBertConfig):
        _check_unchanged(source, config, exit_head, max_length)
        _check_labels(source, config.labels, labels)
        check_activation(config.backbone_config)
        trained: FastBertForSequenceClassification = _load_weights(FastBertForSequenceClassification, source, config)
        return trained
    family = family_of(config)
    check_activation(config)
    keep_layers(config, layers, source)
    limit = position_limit(config)
    if max_length is not None and max_length > limit:
        raise CheckpointError(f"`max_length` is {max_length}; {source} has only {limit} positions.")
    head, length = exit_head or ExitHeadConfig(), min(_DEFAULT_MAX_LENGTH, limit) if max_length is None else max_length
    if not keep_classifier:
        if labels is None:
            raise CheckpointError(f"{source} has no classifier, and the training file has no labels to train one.")
        model = FastBertForSequenceClassification(_new_config(config, labels, head, None, length))
        arguments = {"add_pooling_layer": False} if family.pooler_argument else {}
        backbone = _load_weights(AutoModel, source, config, cut=layers is not None, **arguments)
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
            f"{source} holds a {architecture} for {problem} with num_labels {config.num_labels}; exits need a "
            "classifier that picks one of two or more classes."
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
    model.teacher.get_submodule("dense").load_state_dict(classifier.get_submodule(family.classifier_dense).state_dict())
    model.teacher.get_submodule("classifier").load_state_dict(
        classifier.get_submodule(family.classifier_output).state_dict()
    )
    return model


def _new_config(
    backbone: Any, labels: Sequence[str], exit_head: ExitHeadConfig, teacher: ExitHeadConfig | None, max_length: int
) -> FastBertConfig:
    return FastBertConfig(
        backbone,
        exit_head=exit_head,
        teacher_head=teacher,
        max_sequence_length=max_length,
        **label_maps(labels),
    )


def _check_labels(source: str | Path, known: Sequence[str], labels: Sequence[str] | None) -> None:
    if labels is not None and not set(labels) <= set(known):
        raise CheckpointError(
            f"{source} was trained on the labels {some_labels(known)}; the training file also has "
            f"{some_labels(set(labels) - set(known))}. Start from a model without a classifier, or relabel it."
        )


def _check_unchanged(
    source: str | Path, config: FastBertConfig, exit_head: ExitHeadConfig | None, max_length: int | None
) -> None:
    """Refuse options that contradict a FastBERT checkpoint."""
    if max_length not in (None, config.max_sequence_length):
        raise UsageError(
            f"`max_length` is {max_length}, but {source} is a FastBERT checkpoint that truncates texts to "
            f"{config.max_sequence_length} tokens. Leave `max_length` out."
        )
    if exit_head is not None and asdict(exit_head) != config.exit_head:
        raise UsageError(
            f"{source} is a FastBERT checkpoint with the exit heads {ExitHeadConfig(**config.exit_head)}, which "
            "`exit_head` and `exit_size` cannot change. Leave them out."
        )


def _read_config(source: str | Path) -> Any:
    if _looks_like_path(source) and not (Path(source) / "config.json").is_file():
        raise CheckpointError(f"{source} is not a checkpoint: it has no config.json.")
    if not Path(source).exists():
        _log.info("%s is not a directory here; looking for a model with that name on the hub.", source)
    try:
        config = AutoConfig.from_pretrained(str(source))
    except CheckpointError as error:
        raise CheckpointError(f"The config.json of {source}: {error}") from error
    except Exception as error:
        raise CheckpointError(f"The model {source} could not be read: {first_line(error)}") from error
    if isinstance(config, FastBertConfig):
        config.id2label = dict(enumerate(class_names(source, config)))
        limit = position_limit(config.backbone_config)
        if config.max_sequence_length > limit:
            raise CheckpointError(
                f"The config.json of {source} has max_sequence_length={config.max_sequence_length}, but its backbone "
                f"has only {limit} positions. Correct it."
            )
    return config


def _fastbert_config(source: str | Path) -> FastBertConfig:
    config = _read_config(source)
    if not isinstance(config, FastBertConfig):
        raise CheckpointError(
            f"{source} is a plain {config.model_type!r} model, without exits. "
            f"Train them first: fastbert train {source} --train FILE --output DIR"
        )
    return config


def _looks_like_path(source: str | Path) -> bool:
    return isinstance(source, Path) or Path(source).exists() or source.startswith((".", "/", "~"))


def _load_weights(loader: Any, source: str | Path, config: Any, *, cut: bool = False, **arguments: Any) -> Any:
    """Load weights in float32; refuse missing ones, wrong shapes and, unless ``cut``, layers beyond the config's."""
    try:
        model, report = loader.from_pretrained(
            str(source),
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with their names
            **arguments,
        )
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"The weights of {source} could not be read: {first_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointError(
            f"The weights of {source} lack {len(missing)} tensors that its config.json needs, "
            f"first {', '.join(missing[:10])}."
        )
    mismatched = sorted((name, tuple(held), tuple(asked)) for name, held, asked in report["mismatched_keys"])
    if mismatched:
        shown = "; ".join(f"{name} is {held}, expected {asked}" for name, held, asked in mismatched[:5])
        raise CheckpointError(
            f"{len(mismatched)} tensors of {source} do not have the shape that its config.json asks for: {shown}. "
            "Correct config.json; id2label gives the number of classes."
        )
    if not cut:
        _check_layers(source, config, report["unexpected_keys"])
    return model


def _check_layers(source: str | Path, config: Any, unexpected: Iterable[str]) -> None:
    """Refuse a FastBERT checkpoint with more layers than its config says; warn about another model.

    transformers silently ignores such layers.
    """
    surplus = {int(match[1]) for name in unexpected if (match := _LAYER.search(name))}
    if not surplus:
        return
    layers = ", ".join(map(str, sorted(surplus)))
    problem = f"The weights of {source} have the layers {layers} beyond those of config.json"
    if isinstance(config, FastBertConfig):
        raise CheckpointError(f"{problem}, whose num_hidden_layers was changed. Correct it.")
    _log.warning("%s, whose num_hidden_layers is %d. They are not used.", problem, config.num_hidden_layers)


AutoConfig.register("fastbert", FastBertConfig)
AutoModelForSequenceClassification.register(FastBertConfig, FastBertForSequenceClassification)
