"""One phase of training on the Hugging Face `Trainer`, which brings mixed precision, several GPUs and resuming."""

import sys
from collections.abc import Mapping, Sequence
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
)

from fastbert.data.rows import Row
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.errors import CheckpointError
from fastbert.runtime.tokenization import TextEncoder, Tokens
from fastbert.tokenization import text_encoder
from fastbert.training.frozen import FrozenOutputs
from fastbert.training.losses import distillation_loss, exit_divergence
from fastbert.training.options import PhaseOptions, PhaseReport, TrainOptions
from fastbert.training.resume import last_whole_checkpoint

_LOGGED = ("loss", "eval_loss", "eval_accuracy", "eval_divergence")


def run_phase(
    phase: str,
    model: FastBertForSequenceClassification,
    *,
    tokenizer: PreTrainedTokenizerBase,
    train_rows: Sequence[Row],
    dev_rows: Sequence[Row],
    options: TrainOptions,
    directory: Path,
) -> PhaseReport:
    """Train one phase in place and end with the weights of its best epoch.

    :param phase: ``finetune`` or ``distill``.
    :param directory: the Trainer's checkpoints; training resumes from the last complete one in it.
    :raises CheckpointError: training diverged.
    """
    last_exit = model.config.num_exits - 1
    model.unfreeze()
    if phase == "finetune":
        model.freeze(*model.exits[:last_exit])
    else:
        model.freeze(model.backbone, model.teacher)
    labels = model.config.labels

    encoder = text_encoder(tokenizer, model.config)
    train = _dataset(train_rows, encoder, labels)
    dev = _dataset(dev_rows, encoder, labels, first=len(train))
    lengths = [len(ids) for dataset in (train, dev) for ids in dataset["input_ids"]]
    dev = dev.select(np.argsort(lengths[len(train) :], kind="stable"))  # little padding in a batch
    labelled_dev = dev_rows[0].label is not None
    trainer = _PhaseTrainer(
        phase=phase,
        frozen=_frozen_outputs(model, lengths, directory) if phase == "distill" else None,
        options=options,
        model=model,
        args=_arguments(phase, options, directory, metric="accuracy" if labelled_dev else "divergence"),
        train_dataset=train,
        eval_dataset=dev,
        data_collator=partial(_padded, encoder),
        compute_metrics=_metrics,
    )
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Progress)
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(directory))
    trainer.exits = None  # evaluate every exit, also after fine-tuning, which trains only the last
    predicted = trainer.predict(dev)
    exit_logits, label_ids = np.asarray(predicted.predictions), np.asarray(predicted.label_ids)
    model.eval()
    if not np.isfinite(exit_logits).all():
        raise CheckpointError(
            f"Training diverged in the phase {phase}: the model answers with NaN or infinity. Start again with "
            "`overwrite` and a lower learning rate."
        )
    divergence = exit_divergence(torch.from_numpy(exit_logits), "forward").mean(0)
    return PhaseReport(
        phase,
        trainer.state.global_step,
        tuple(_accuracy(exit_logits, label_ids).tolist()) if labelled_dev else None,
        tuple(divergence.tolist()),
    )


def _frozen_outputs(
    model: FastBertForSequenceClassification, lengths: Sequence[int], directory: Path
) -> FrozenOutputs | None:
    """Return where to keep the outputs of the frozen backbone. A GPU computes them faster than they are read."""
    if torch.accelerator.is_available() or PartialState().num_processes > 1:
        return None
    directory.mkdir(exist_ok=True)
    hidden_size = model.config.backbone_config.hidden_size
    return FrozenOutputs.open(directory, lengths, layers=model.config.num_exits, hidden_size=hidden_size)


def _dataset(rows: Sequence[Row], encoder: TextEncoder, labels: Sequence[str], *, first: int = 0) -> Dataset:
    """Tokenize rows and number them from ``first``; a row without a label has the label -100, which losses ignore."""
    index = {label: number for number, label in enumerate(labels)}
    items = encoder.tokenize([row.text_input for row in rows])
    return Dataset.from_dict(
        {
            "input_ids": [item.ids for item in items],
            "token_type_ids": [item.type_ids for item in items],
            "labels": [-100 if row.label is None else index[row.label] for row in rows],
            "row": range(first, first + len(rows)),
        }
    )


def _padded(encoder: TextEncoder, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Pad rows of `_dataset` to one batch: int64 tensors [batch, sequence], and ``labels`` [batch]."""
    batch = encoder.pad([Tokens(row["input_ids"], row["token_type_ids"], False) for row in rows])
    names = ("input_ids", "attention_mask", "token_type_ids")
    tensors = {name: torch.from_numpy(getattr(batch, name)) for name in names}
    return {**tensors, **{name: torch.tensor([row[name] for row in rows]) for name in ("labels", "row")}}


def _arguments(phase: str, options: TrainOptions, directory: Path, *, metric: str) -> TrainingArguments:
    schedule: PhaseOptions = getattr(options, phase)
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


class _PhaseTrainer(Trainer):
    """A Trainer with the loss of one phase."""

    def __init__(
        self,
        *,
        phase: str,
        options: TrainOptions,
        model: FastBertForSequenceClassification,
        frozen: FrozenOutputs | None,
        **arguments: Any,
    ) -> None:
        super().__init__(model=model, **arguments)
        self.phase = phase
        self.options = options
        self.classifier = model
        self.frozen = frozen
        self.exits = [model.config.num_exits - 1] if phase == "finetune" else None

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        inputs = dict(inputs)
        labels, rows = inputs.pop("labels"), inputs.pop("row")
        if self.frozen is not None:
            ids, types = inputs["input_ids"], inputs["token_type_ids"]
            mask = self.classifier.extended_attention_mask(inputs["attention_mask"])
            run = partial(self.classifier.run_layers, ids, mask, types)
            with self.accelerator.autocast():  # in mixed precision, as in a forward pass
                inputs["layer_outputs"] = self.frozen.get(rows, ids.shape[1], run)
        exit_logits = model(**inputs, exits=self.exits).exit_logits
        if self.phase == "finetune":
            loss = cross_entropy(exit_logits[:, -1].float(), labels)
        else:
            loss = distillation_loss(
                exit_logits, labels, direction=self.options.kl, label_share=self.options.label_share
            )
        return (loss, {"exit_logits": exit_logits}) if return_outputs else loss


def _metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Return what picks the best epoch: the last exit's figures in fine-tuning, the others' means in distillation."""
    exit_logits = np.asarray(prediction.predictions)
    students = exit_logits[:, :-1] if exit_logits.shape[1] > 1 else exit_logits
    divergence = exit_divergence(torch.from_numpy(exit_logits), "forward")
    return {
        "accuracy": float(_accuracy(students, np.asarray(prediction.label_ids)).mean()),
        "divergence": float(divergence.mean()) if divergence.numel() else 0.0,
    }


def _accuracy(exit_logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Accuracy of every exit: float [exits]."""
    return np.asarray((exit_logits.argmax(-1) == labels[:, None]).mean(0))


class _Progress(ProgressCallback):
    """Progress bars and one line per epoch, all on stderr: stdout belongs to the caller's data."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and logs:
            shown = {key: round(value, 4) for key, value in logs.items() if key in _LOGGED and isinstance(value, float)}
            if shown:
                tqdm.write(
                    f"epoch {state.epoch:g}: " + ", ".join(f"{key} {value:g}" for key, value in shown.items()),
                    file=sys.stderr,
                )
