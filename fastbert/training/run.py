"""Two-stage training: fine-tune the backbone with the last exit, then distil the other exits from it.

Hugging Face `Trainer` runs both stages, so mixed precision, several GPUs (``accelerate launch -m fastbert.cli train``)
and resuming are its own.

While a run is going, ``OUTPUT.training/`` holds what a resume needs. It lies beside the output, also for
``--output .``; where the output is a mount point, such as a container's volume, or its parent may not be written, it is
``OUTPUT/.training/``. One run at a time holds it.

::

    options.json    what was asked; a resume must ask the same
    finetune/       Trainer's checkpoints of stage 1
    finetuned/      the model after stage 1
    distill/        Trainer's checkpoints of stage 2

``OUTPUT`` itself appears whole at the end.
"""

import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import (
    EvalPrediction,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import sort_checkpoints

from fastbert.checkpoint import (
    CHECKPOINT_FILES,
    TRAINING,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    start_from,
)
from fastbert.configuration import ExitHeadConfig
from fastbert.data import label_names, read_rows, read_texts, sample, with_labels
from fastbert.data.rows import Row
from fastbert.files.atomic import full_disk_named, replace_file, require_writable, work_directory
from fastbert.files.claims import Claim
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.errors import CheckpointError, OutputExistsError, UsageError
from fastbert.runtime.tokenization import TextEncoder, Tokens
from fastbert.tokenization import (
    check_rows,
    check_vocabulary,
    compare_with_transformers,
    load_tokenizer,
    text_encoder,
    warn_of_another,
)
from fastbert.training.distributed import require_whole_environment
from fastbert.training.losses import KL_DIRECTIONS, distillation_loss, exit_divergence

__all__ = ["STAGES", "StageOptions", "StageReport", "TrainOptions", "TrainReport", "train"]

STAGES = ("finetune", "distill", "both")
SAMPLE_ROWS = 256  # dev rows kept in the checkpoint for the export's verification
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageOptions:
    """How long and how fast one stage learns."""

    epochs: float
    learning_rate: float


@dataclass(frozen=True)
class TrainOptions:
    """What `train` is asked to do.

    :param model: a directory or hub name: a Hugging Face encoder, a Hugging Face classifier or a FastBERT checkpoint.
    :param output: directory of the checkpoint to write.
    :param train: labelled file; may be None when only distilling with ``unlabeled``.
    :param dev: file that picks the best epoch; None: a tenth of the training rows is held out for it.
    :param unlabeled: more texts for stage 2; their labels, if any, are not used.
    :param stage: one of `STAGES`.
    :param kl: direction of the divergence in stage 2 (`fastbert.training.losses.KL_DIRECTIONS`).
    :param label_share: share of cross-entropy on labelled rows in stage 2's loss, in [0, 1].
    :param max_length: longest text in tokens; None: 128, or the checkpoint's own.
    :param max_train_rows: draw this many training rows at random.
    :param exit_head: of the exits but the last; None: the paper's, or the checkpoint's own.
    :param tokenizer: directory or hub name of the tokenizer; None: the one of ``model``.
    :param precision: ``fp32``, ``fp16`` or ``bf16`` (the Trainer's mixed precision).
    """

    model: str
    output: Path
    train: Path | None = None
    dev: Path | None = None
    unlabeled: tuple[Path, ...] = ()
    stage: str = "both"
    kl: str = "forward"
    label_share: float = 0.5
    max_length: int | None = None
    max_train_rows: int | None = None
    batch_size: int = 32
    finetune: StageOptions = StageOptions(epochs=3, learning_rate=5e-5)
    distill: StageOptions = StageOptions(epochs=5, learning_rate=1e-3)
    warmup: float = 0.1
    weight_decay: float = 0.01
    exit_head: ExitHeadConfig | None = None
    tokenizer: str | None = None
    precision: str = "fp32"
    seed: int = 42

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise UsageError(f"--stage {self.stage} is unknown; use {', '.join(STAGES)}.")
        if self.precision not in ("fp32", "fp16", "bf16"):
            raise UsageError(f"--precision {self.precision} is unknown; use fp32, fp16 or bf16.")
        if self.kl not in KL_DIRECTIONS:
            raise UsageError(f"--kl {self.kl} is unknown; use {' or '.join(KL_DIRECTIONS)}.")
        if not 0.0 <= self.label_share <= 1.0:
            raise UsageError(f"--label-share {self.label_share} is outside [0, 1].")
        if self.train is None and (self.stage != "distill" or not self.unlabeled):
            raise UsageError("Name a training file with --train (only --stage distill with --unlabeled does without).")
        for name, value in (
            ("--batch-size", self.batch_size),
            ("--max-length", self.max_length),
            ("--epochs", self.finetune.epochs),
            ("--learning-rate", self.finetune.learning_rate),
            ("--distill-epochs", self.distill.epochs),
            ("--distill-learning-rate", self.distill.learning_rate),
        ):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} is {value:g}; it must be greater than 0.")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed is {self.seed}; it must be from 0 to {2**32 - 1}.")


@dataclass(frozen=True)
class StageReport:
    """How a stage ended.

    :param steps: optimizer steps, those before a resume included.
    :param exit_accuracy: of every exit on the dev rows, first layer first; None: the dev rows have no labels.
    :param exit_divergence: mean KL(teacher || exit) of every exit but the last on the dev rows, in nats.
    """

    stage: str
    steps: int
    exit_accuracy: tuple[float, ...] | None
    exit_divergence: tuple[float, ...]


@dataclass(frozen=True)
class TrainReport:
    """What `train` did."""

    output: Path
    labels: tuple[str, ...]
    train_rows: int
    unlabeled_rows: int
    dev_rows: int
    stages: tuple[StageReport, ...]


@dataclass(frozen=True)
class _Rows:
    train: list[Row]
    unlabeled: list[Row]
    dev: list[Row]
    labels: list[str] | None


def train(options: TrainOptions, *, overwrite: bool = False, resume: bool = False) -> TrainReport:
    """Train as asked and write the checkpoint.

    :param overwrite: replace an existing output; the old one stays until the new one is complete.
    :param resume: go on with a run of the same options that was stopped.
    :raises FastBertError: `UsageError`, `DataError`, `CheckpointError` or `OutputExistsError`; the output is untouched.
    """
    require_whole_environment()
    processes = PartialState(
        cpu=not torch.accelerator.is_available()
    )  # one, or those that `accelerate launch` or `torchrun` started
    require_writable(options.output, overwrite=overwrite, kind=TRAINING, ours=CHECKPOINT_FILES)
    rows = _read(options)
    set_seed(options.seed)
    model = start_from(
        options.model,
        labels=rows.labels,
        exit_head=options.exit_head,
        max_length=options.max_length,
        keep_classifier=options.stage == "distill",
    )
    if (
        options.dev is not None and rows.labels is None
    ):  # only now are the labels known that a classifier brought with it
        rows = replace(rows, dev=with_labels(rows.dev, model.config.labels, options.dev))
    if options.stage != "finetune" and model.config.num_exits == 1:
        raise UsageError(
            f"{options.model} has one layer, so there is no exit before the last to distil. Use --stage finetune."
        )
    tokenizer = _tokenizer(options, model, rows)
    with processes.main_process_first():
        work = _work_directory(options, overwrite=overwrite, resume=resume, prepare=processes.is_main_process)
    stages = []
    with _kept_only_if_resumable(work, processes.is_main_process):
        if options.stage != "distill":
            finetuned = work / "finetuned"
            if not finetuned.is_dir():
                report = _run_stage("finetune", model, tokenizer, rows, options, work)
                model.config.distilled = False
                if processes.is_main_process:
                    _save(finetuned, model, tokenizer, rows, options, [report])
                processes.wait_for_everyone()
            checkpoint = load_checkpoint(finetuned)
            model = checkpoint.model
            stages = [StageReport(**report) for report in checkpoint.training["stages"]]
        if options.stage != "finetune":
            stages.append(_run_stage("distill", model, tokenizer, rows, options, work))
            model.config.distilled = True
        processes.wait_for_everyone()
        if processes.is_main_process:
            _save(options.output, model, tokenizer, rows, options, stages, overwrite=overwrite)
            shutil.rmtree(work)
    processes.wait_for_everyone()
    return TrainReport(
        options.output,
        tuple(model.config.labels),
        len(rows.train),
        len(rows.unlabeled),
        len(rows.dev),
        tuple(stages),
    )


def _tokenizer(options: TrainOptions, model: FastBertForSequenceClassification, rows: _Rows) -> PreTrainedTokenizerBase:
    """Load the tokenizer, and find out before the work whether it fits the model and the rows."""
    source = options.model if options.tokenizer is None else options.tokenizer
    tokenizer = load_tokenizer(source)
    if options.tokenizer is not None:
        warn_of_another(options.model, source, tokenizer)
    given = [*rows.train, *rows.unlabeled, *rows.dev]
    check_vocabulary(source, tokenizer, model.config.backbone_config.vocab_size)
    check_rows(source, tokenizer, given)
    compare_with_transformers(source, tokenizer, given)
    pairs = [row.text_input for row in given if row.text_pair is not None]
    text_encoder(tokenizer, model.config).tokenize(pairs[:1])
    return tokenizer


def _read(options: TrainOptions) -> _Rows:
    labelled = options.stage != "distill"
    train_rows = read_rows(options.train, require_label=labelled) if options.train else []
    labels = label_names(train_rows, options.train) if options.train and train_rows[0].label is not None else None
    unlabeled = [row for path in options.unlabeled for row in read_texts(path)] if options.stage != "finetune" else []
    train_rows = sample(train_rows, options.max_train_rows, seed=options.seed)
    if options.dev is not None:
        return _Rows(train_rows, unlabeled, read_rows(options.dev, labels=labels, require_label=labelled), labels)
    pool = train_rows or unlabeled
    if len(pool) < 2:
        raise UsageError("One row is not enough to train on and to hold out from. Name a dev file with --dev.")
    dev = set(sample(range(len(pool)), max(1, min(len(pool) // 10, 2000)), seed=options.seed))
    _log.warning("No --dev file: %d of %d training rows are held out to pick the best epoch.", len(dev), len(pool))
    kept = [row for index, row in enumerate(pool) if index not in dev]
    held_out = [pool[index] for index in sorted(dev)]
    return _Rows(kept, unlabeled, held_out, labels) if train_rows else _Rows([], kept, held_out, labels)


def _work_directory(options: TrainOptions, *, overwrite: bool, resume: bool, prepare: bool) -> Path:
    """Make or find the directory of a run; options that differ from the stopped run's are refused.

    :param prepare: whether to make it; false in all processes but the main one.
    """
    work = work_directory(options.output)
    record, asked = work / "options.json", json.loads(json.dumps(asdict(options), default=str))
    if resume:
        if not record.is_file():
            raise UsageError(f"There is nothing to resume: {work} holds no stopped run. Start without --resume.")
        try:
            stopped = dict(json.loads(record.read_bytes()))
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(f"{record} is damaged: {error}. Start again with --overwrite.") from error
        differing = [key for key in {**stopped, **asked} if stopped.get(key) != asked.get(key)]
        if differing:
            raise UsageError(
                f"The run in {work} was started with other options ({', '.join(differing)}; see {record}). "
                "Resume with the same ones, or start again with --overwrite."
            )
        return work
    if not prepare:
        return work
    if record.is_file() and not overwrite:
        with _held_by_us(work):
            raise OutputExistsError(
                f"{work} holds a stopped run. Go on with --resume, or start again with --overwrite."
            )
    if os.path.lexists(work) and not record.is_file() and not _is_empty_directory(work):
        raise OutputExistsError(f"{work} is in the way: it holds no run. Move it away, or name another --output.")
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _held_by_us(work):
            for entry in work.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            replace_file(record, (json.dumps(asked, indent=2) + "\n").encode())
    except OSError as error:
        raise UsageError(f"{work} cannot be written: {error.strerror}. Name another --output.") from error
    return work


def _is_empty_directory(work: Path) -> bool:
    """Whether nothing is in it but half of the record of a run that was killed at once."""
    return (
        work.is_dir()
        and not work.is_symlink()
        and all(path.name.startswith(".options.json.") for path in work.iterdir())
    )


@contextmanager
def _held_by_us(work: Path) -> Iterator[None]:
    """Keep other runs out of the directory of a run, in any container of this machine."""
    try:
        claim = Claim(work.resolve())
    except BlockingIOError as error:
        raise OutputExistsError(f"Another run trains in {work}. Wait for it, or name another --output.") from error
    try:
        yield
    finally:
        claim.release()


@contextmanager
def _kept_only_if_resumable(work: Path, main_process: bool) -> Iterator[None]:
    """Remove the directory of a run that fails before there is anything to resume from; otherwise say how."""
    with _held_by_us(work) if main_process else nullcontext():
        try:
            with full_disk_named(work, work):
                yield
        except BaseException:
            if main_process and not (work / "finetuned").is_dir() and not any(map(_last_checkpoint, work.iterdir())):
                shutil.rmtree(work)
            elif main_process:
                _log.warning("What was trained is kept in %s. Go on with --resume and the same options.", work)
            raise


def _last_checkpoint(directory: Path) -> str | None:
    """Return the newest whole checkpoint of the Trainer: it writes its state last, and a kill may leave half of one."""
    for path in reversed(sort_checkpoints(str(directory)) if directory.is_dir() else []):
        try:
            json.loads((Path(path) / TRAINER_STATE_NAME).read_bytes())
        except (OSError, ValueError):
            continue
        return path
    return None


def _run_stage(
    stage: str,
    model: FastBertForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    rows: _Rows,
    options: TrainOptions,
    work: Path,
) -> StageReport:
    """Train one stage in place, ending on its best epoch."""
    last_exit = model.config.num_exits - 1
    model.unfreeze()
    if stage == "finetune":
        model.freeze(*model.exits[:last_exit])
        train_rows = rows.train
    else:
        model.freeze(model.backbone, model.teacher)
        train_rows = [*rows.train, *rows.unlabeled]
    labels = model.config.labels

    encoder = text_encoder(tokenizer, model.config)
    dev = _dataset(rows.dev, encoder, labels)
    dev = dev.select(np.argsort([len(ids) for ids in dev["input_ids"]], kind="stable"))  # little padding in a batch
    labelled_dev = rows.dev[0].label is not None
    directory = work / stage
    trainer = _StageTrainer(
        stage=stage,
        options=options,
        model=model,
        args=_arguments(stage, options, directory, metric="accuracy" if labelled_dev else "divergence"),
        train_dataset=_dataset(train_rows, encoder, labels),
        eval_dataset=dev,
        data_collator=partial(_padded, encoder),
        compute_metrics=_metrics,
    )
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Progress)
    trainer.train(resume_from_checkpoint=_last_checkpoint(directory))
    trainer.exits = None  # judge every exit, also after stage 1, which trains only the last
    exit_logits, label_ids, _ = trainer.predict(dev)
    model.eval()
    if not np.isfinite(exit_logits).all():
        raise CheckpointError(
            f"The {stage} stage diverged: the model answers with NaN or infinity. Start again with --overwrite and a "
            "lower learning rate."
        )
    divergence = exit_divergence(torch.from_numpy(exit_logits), "forward").mean(0)
    return StageReport(
        stage,
        trainer.state.global_step,
        tuple(_accuracy(exit_logits, label_ids).tolist()) if labelled_dev else None,
        tuple(divergence.tolist()),
    )


def _dataset(rows: Sequence[Row], encoder: TextEncoder, labels: Sequence[str]) -> Dataset:
    """Tokenize rows; ``labels`` is -100 where a row has none, which the losses leave out."""
    index = {label: number for number, label in enumerate(labels)}
    items = encoder.tokenize([row.text_input for row in rows])
    return Dataset.from_dict(
        {
            "input_ids": [item.ids for item in items],
            "token_type_ids": [item.type_ids for item in items],
            "labels": [-100 if row.label is None else index[row.label] for row in rows],
        }
    )


def _padded(encoder: TextEncoder, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Make rows of `_dataset` a batch."""
    batch = encoder.pad([Tokens(row["input_ids"], row["token_type_ids"], False) for row in rows])
    names = ("input_ids", "attention_mask", "token_type_ids")
    tensors = {name: torch.from_numpy(getattr(batch, name)) for name in names}
    return {**tensors, "labels": torch.tensor([row["labels"] for row in rows])}


def _arguments(stage: str, options: TrainOptions, directory: Path, *, metric: str) -> TrainingArguments:
    schedule: StageOptions = getattr(options, stage)
    return TrainingArguments(
        output_dir=str(directory),
        num_train_epochs=schedule.epochs,
        learning_rate=schedule.learning_rate,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=2 * options.batch_size,
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        seed=options.seed,
        fp16=options.precision == "fp16",
        bf16=options.precision == "bf16",
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        greater_is_better=metric == "accuracy",
        logging_strategy="epoch",
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        use_cpu=not torch.accelerator.is_available(),
        dataloader_pin_memory=torch.accelerator.is_available(),
    )


class _StageTrainer(Trainer):
    """A Trainer with the loss of one stage."""

    def __init__(self, *, stage: str, options: TrainOptions, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.stage = stage
        self.options = options
        self.exits = [self.model.config.num_exits - 1] if stage == "finetune" else None

    def compute_loss(
        self, model: torch.nn.Module, inputs: Mapping[str, Any], return_outputs: bool = False, **_: Any
    ) -> Any:
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        exit_logits = model(**inputs, exits=self.exits).exit_logits
        if self.stage == "finetune":
            loss = cross_entropy(exit_logits[:, -1].float(), labels)
        else:
            loss = distillation_loss(
                exit_logits, labels, direction=self.options.kl, label_share=self.options.label_share
            )
        return (loss, {"exit_logits": exit_logits}) if return_outputs else loss


def _metrics(prediction: EvalPrediction) -> dict[str, float]:
    """What picks the best epoch: stage 1 computes only the last exit; stage 2 averages the exits before it."""
    exit_logits = np.asarray(prediction.predictions)
    students = exit_logits[:, :-1] if exit_logits.shape[1] > 1 else exit_logits
    divergence = exit_divergence(torch.from_numpy(exit_logits), "forward")
    return {
        "accuracy": float(_accuracy(students, np.asarray(prediction.label_ids)).mean()),
        "divergence": float(divergence.mean()) if divergence.numel() else 0.0,
    }


def _accuracy(exit_logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Accuracy of every exit: float [exits]."""
    return (exit_logits.argmax(-1) == labels[:, None]).mean(0)


class _Progress(ProgressCallback):
    """Progress bars and one line an epoch, all on stderr: stdout belongs to the caller's data."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and logs:
            shown = {key: round(value, 4) for key, value in logs.items() if key in _SHOWN and isinstance(value, float)}
            if shown:
                tqdm.write(
                    f"epoch {state.epoch:g}: " + ", ".join(f"{key} {value:g}" for key, value in shown.items()),
                    file=sys.stderr,
                )


_SHOWN = ("loss", "eval_loss", "eval_accuracy", "eval_divergence")


def _save(
    directory: Path,
    model: FastBertForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    rows: _Rows,
    options: TrainOptions,
    stages: list[StageReport],
    *,
    overwrite: bool = False,
) -> None:
    model.unfreeze()
    kept = sample(rows.dev, SAMPLE_ROWS, seed=options.seed)
    config = model.config
    used = replace(options, max_length=config.max_sequence_length, exit_head=ExitHeadConfig(**config.exit_head))
    record = {
        "options": json.loads(json.dumps(asdict(used), default=str)),
        "stages": [asdict(stage) for stage in stages],
    }
    save_checkpoint(directory, Checkpoint(model.eval(), tokenizer, tuple(kept), record), overwrite=overwrite)
