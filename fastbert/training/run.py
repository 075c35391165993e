"""A whole training run: read, fine-tune the backbone with the last exit, distil the other exits from it, save.

``accelerate launch -m fastbert.cli train`` uses several GPUs. The output appears at the end, whole; until then a run
works in the directory that `fastbert.training.resume` describes.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import PreTrainedTokenizerBase, set_seed

from fastbert.checkpoint import MAX_SAMPLE_ROWS, TRAINING, Checkpoint, load_checkpoint, save_checkpoint, start_from
from fastbert.configuration import ExitHeadConfig
from fastbert.data import label_names, read_rows, read_texts, sample, with_labels
from fastbert.data.rows import Row
from fastbert.files.atomic import require_writable
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import file_record
from fastbert.tokenization import (
    check_rows,
    check_vocabulary,
    compare_with_transformers,
    load_tokenizer,
    text_encoder,
    warn_if_ids_differ,
)
from fastbert.training.distributed import require_whole_environment
from fastbert.training.options import PhaseReport, TrainOptions, TrainReport
from fastbert.training.resume import FINETUNED, discard_unless_resumable, open_work_directory, options_record
from fastbert.training.trainer import run_phase

_MAX_HELD_OUT = 2000  # rows
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Rows:
    train: list[Row]
    unlabeled: list[Row]
    dev: list[Row]
    labels: list[str] | None
    digests: dict[str, list[str]] = field(default_factory=dict)


def train(options: TrainOptions, *, overwrite: bool = False, resume: bool = False) -> TrainReport:
    """Train as asked and write the checkpoint.

    :param overwrite: replace an existing output; the old one stays until the new one is complete.
    :param resume: continue a stopped run of the same options.
    :raises FastBertError: `UsageError`, `DataError`, `CheckpointError` or `OutputExistsError`; the output is untouched.
    """
    require_whole_environment()
    # one process, or those that `accelerate launch` or `torchrun` started
    processes = PartialState(cpu=not torch.accelerator.is_available())
    require_writable(options.output, overwrite=overwrite, kind=TRAINING)
    rows = replace(_read(options), digests=_digests(options))
    set_seed(options.seed)
    model = start_from(
        options.model,
        labels=rows.labels,
        exit_head=options.exit_head,
        max_length=options.max_length,
        keep_classifier=options.phase == "distill",
        layers=options.layers,
    )
    if options.uncertainty is not None:
        model.config.uncertainty = options.uncertainty
    if options.layers not in (None, model.config.num_exits):
        raise UsageError(
            f"`layers` is {options.layers}, but {options.model} is a FastBERT checkpoint with "
            f"{model.config.num_exits}. Start from the encoder that it was trained from."
        )
    if options.dev is not None and rows.labels is None:  # the labels come from the classifier, loaded just now
        rows = replace(rows, dev=with_labels(rows.dev, model.config.labels, options.dev))
    if options.phase != "finetune" and model.config.num_exits == 1:
        raise UsageError(f"{options.model} has one layer, so there are no exits to distil: `phase` must be finetune.")
    tokenizer = _tokenizer(options, model, rows)
    with processes.main_process_first():
        work = open_work_directory(options, overwrite=overwrite, resume=resume, prepare=processes.is_main_process)
    run = partial(run_phase, tokenizer=tokenizer, dev_rows=rows.dev, options=options)
    reports = []
    with discard_unless_resumable(work, main_process=processes.is_main_process):
        if options.phase != "distill":
            finetuned = work / FINETUNED
            if not finetuned.is_dir():
                report = run("finetune", model, train_rows=rows.train, directory=work / "finetune")
                model.config.distilled = False
                if processes.is_main_process:
                    _save(finetuned, model, tokenizer, rows, options, [report])
                processes.wait_for_everyone()
            checkpoint = load_checkpoint(finetuned)
            model = checkpoint.model
            reports = [PhaseReport(**report) for report in checkpoint.training["phases"]]
        if options.phase != "finetune":
            train_rows = [*rows.train, *rows.unlabeled]
            reports.append(run("distill", model, train_rows=train_rows, directory=work / "distill"))
            model.config.distilled = True
        processes.wait_for_everyone()
        if processes.is_main_process:
            _save(options.output, model, tokenizer, rows, options, reports, overwrite=overwrite)
            shutil.rmtree(work)
    processes.wait_for_everyone()
    return TrainReport(
        options.output,
        tuple(model.config.labels),
        len(rows.train),
        len(rows.unlabeled),
        len(rows.dev),
        tuple(reports),
    )


def _tokenizer(options: TrainOptions, model: FastBertForSequenceClassification, rows: _Rows) -> PreTrainedTokenizerBase:
    """Load the tokenizer and check, before any training, that it fits the model and the rows."""
    source = options.model if options.tokenizer is None else options.tokenizer
    tokenizer = load_tokenizer(source)
    if options.tokenizer is not None:
        warn_if_ids_differ(options.model, source, tokenizer)
    given = [*rows.train, *rows.unlabeled, *rows.dev]
    check_vocabulary(source, tokenizer, model.config.backbone_config.vocab_size)
    check_rows(source, tokenizer, given)
    compare_with_transformers(source, tokenizer, given)
    pairs = [row.text_input for row in given if row.text_pair is not None]
    text_encoder(tokenizer, model.config).tokenize(pairs[:1])
    return tokenizer


def _read(options: TrainOptions) -> _Rows:
    labelled = options.phase != "distill"
    train_rows = read_rows(options.train, require_label=labelled) if options.train else []
    labels = label_names(train_rows, options.train) if options.train and train_rows[0].label is not None else None
    unlabeled = [row for path in options.unlabeled for row in read_texts(path)] if options.phase != "finetune" else []
    train_rows = sample(train_rows, options.max_train_rows, seed=options.seed)
    if options.dev is not None:
        return _Rows(train_rows, unlabeled, read_rows(options.dev, labels=labels, require_label=labelled), labels)
    pool = train_rows or unlabeled
    if len(pool) < 2:
        raise UsageError("There is only one row, so none can be held out to pick the best epoch. Name a file as `dev`.")
    dev = set(sample(range(len(pool)), max(1, min(len(pool) // 10, _MAX_HELD_OUT)), seed=options.seed))
    _log.warning("No dev file: %d of %d training rows are held out to pick the best epoch.", len(dev), len(pool))
    kept = [row for index, row in enumerate(pool) if index not in dev]
    held_out = [pool[index] for index in sorted(dev)]
    return _Rows(kept, unlabeled, held_out, labels) if train_rows else _Rows([], kept, held_out, labels)


def _digests(options: TrainOptions) -> dict[str, list[str]]:
    """Return the sha256 of each data file, by use, so that `fastbert tune` knows the rows again."""
    files = {
        "train": (options.train,),
        "unlabeled": options.unlabeled if options.phase != "finetune" else (),
        "dev": (options.dev,),
    }
    found = {
        use: [file_record(Path(path))["sha256"] for path in paths if path is not None and Path(path).is_file()]
        for use, paths in files.items()
    }
    return {use: digests for use, digests in found.items() if digests}


def _save(
    directory: Path,
    model: FastBertForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    rows: _Rows,
    options: TrainOptions,
    reports: Sequence[PhaseReport],
    *,
    overwrite: bool = False,
) -> None:
    model.unfreeze()
    kept = sample(rows.dev, MAX_SAMPLE_ROWS, seed=options.seed)
    config = model.config
    used = replace(
        options,
        max_length=config.max_sequence_length,
        exit_head=ExitHeadConfig(**config.exit_head),
        uncertainty=config.uncertainty,
    )
    phases = [asdict(report) for report in reports]
    record = {"options": options_record(used), "data": rows.digests, "phases": phases}
    save_checkpoint(directory, Checkpoint(model.eval(), tokenizer, tuple(kept), record), overwrite=overwrite)
