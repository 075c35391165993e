"""Reads a checkpoint of another program and writes a FastBERT checkpoint directory."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastbert.checkpoint import MAX_SAMPLE_ROWS, TRAINING, Checkpoint, save_checkpoint
from fastbert.data import read_texts, sample
from fastbert.files.atomic import require_writable
from fastbert.importing import bitvoyage, huggingface, uer
from fastbert.importing.files import read_json
from fastbert.importing.findings import Findings, ImportReport
from fastbert.importing.model import Request, build_model
from fastbert.importing.tensors import first_ten, read_tensors
from fastbert.runtime.errors import CheckpointError, UsageError
from fastbert.tokenization import check_rows, check_vocabulary, compare_with_transformers, text_encoder
from fastbert.uncertainty import DEFAULT_MEASURE, check_measure

_FILES = {"bitvoyage": bitvoyage, "uer": uer}
FORMATS = ("auto", *_FILES, "huggingface")
_log = logging.getLogger(__name__)


def import_checkpoint(
    path: str | Path,
    *,
    output: str | Path,
    format: str = "auto",
    config: str | Path | None = None,
    bert_config: str | Path | None = None,
    vocab: str | Path | None = None,
    labels: Sequence[str] | None = None,
    max_length: int | None = None,
    uncertainty: str = DEFAULT_MEASURE,
    tokenizer: str | None = None,
    verify_data: str | Path | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Write a FastBERT checkpoint directory that gives the same answers as another program. An error leaves no output.

    :param path: a file that the other program saved, its directory of ``Epoch_N.bin`` files (the last one is used), or
        the directory of a Hugging Face sequence classifier.
    :param output: directory to write.
    :param format: one of `FORMATS`; ``"auto"`` detects it from the tensors' names.
    :param config: the op config (``bitvoyage``) or the model's config (``uer``).
    :param bert_config: the BERT config (``bitvoyage``); None: the one that ``config`` names.
    :param vocab: ``vocab.txt``; None: the one that ``config`` names.
    :param labels: class names by index; None: the checkpoint's own, or 0, 1 ...
    :param max_length: longest sequence in tokens, special tokens included; None: the checkpoint's own.
    :param uncertainty: what the exits measure (`fastbert.uncertainty.MEASURES`). The original programs measure entropy.
    :param tokenizer: directory or hub name of a Hugging Face classifier's tokenizer; None: the one in its directory.
    :param verify_data: data file whose texts are kept in the checkpoint, for the export's verification.
    :param overwrite: replace an existing output; the old one stays until the new one is complete.
    :raises CheckpointError: the checkpoint, its configs or its vocabulary cannot be used, or contradict each other.
    :raises UsageError: an argument is out of range.
    :raises DataError: ``verify_data`` cannot be read.
    :raises OutputExistsError: ``output`` may not be replaced.
    """
    if format not in FORMATS:
        raise UsageError(f"`format` is {format!r}; use {', '.join(FORMATS)}.")
    check_measure(uncertainty)
    request = Request(
        checkpoint=_checkpoint_file(Path(path)),
        output=Path(output),
        config=_path(config),
        bert_config=_path(bert_config),
        vocab=_path(vocab),
        labels=None if labels is None else tuple(labels),
        max_length=max_length,
        tokenizer=tokenizer,
    )
    require_writable(request.output, overwrite=overwrite, kind=TRAINING)
    rows = sample(read_texts(verify_data), MAX_SAMPLE_ROWS, seed=0) if verify_data is not None else []
    findings = Findings()
    if request.checkpoint.is_dir():
        _check_directory(request.checkpoint, format)
        format = "huggingface"
        model, loaded = huggingface.read(request, findings)
        vocabulary = len(loaded)
        compare_with_transformers(request.checkpoint if tokenizer is None else tokenizer, loaded, rows)
    else:
        tensors = read_tensors(request.checkpoint)
        format = _format_of(request.checkpoint, tensors, format)
        foreign = _FILES[format].read(request, tensors, findings)
        model, loaded = build_model(request.checkpoint, tensors, foreign), foreign.tokenizer
        vocabulary = foreign.vocabulary
        if uncertainty != DEFAULT_MEASURE:
            findings.assumed.append(
                f"exits measure {uncertainty}, as `uncertainty` says; the original measures {DEFAULT_MEASURE}, so "
                "the same speed gives other exit layers there"
            )
        if tokenizer is not None:
            findings.ignored.append(
                f"`tokenizer` {tokenizer}: {format} files are read with the original tokenizer, from vocab.txt"
            )
    model.config.uncertainty = uncertainty
    source = request.checkpoint if tokenizer is None else tokenizer
    check_vocabulary(source, loaded, model.config.backbone_config.vocab_size)
    check_rows(source, loaded, rows)
    text_encoder(loaded, model.config).tokenize([row.text_input for row in rows if row.text_pair is not None][:1])
    report = ImportReport(
        output=request.output,
        format=format,
        labels=tuple(model.config.labels),
        layers=model.config.num_exits,
        hidden_size=model.config.backbone_config.hidden_size,
        vocabulary=vocabulary,
        max_length=model.config.max_sequence_length,
        recognised=tuple(findings.recognised),
        assumed=tuple(findings.assumed),
        ignored=tuple(findings.ignored),
        warnings=tuple(findings.warnings),
        undistilled_exits=tuple(findings.undistilled_exits),
    )
    record = {"imported": {"checkpoint": request.checkpoint.name, **asdict(report)}}
    del record["imported"]["output"]
    save_checkpoint(request.output, Checkpoint(model, loaded, tuple(rows), record), overwrite=overwrite)
    for warning in report.warnings:
        _log.warning("%s", warning)
    return report


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _checkpoint_file(path: Path) -> Path:
    """Return the file to read: in a directory without ``config.json``, the ``Epoch_N.bin`` of the highest N."""
    if not path.exists():
        raise CheckpointError(f"The checkpoint {path} does not exist.")
    if path.is_file() or (path / "config.json").is_file():
        return path
    epochs = {int(match[1]): file for file in path.iterdir() if (match := re.fullmatch(r"Epoch_(\d+)\.bin", file.name))}
    if not epochs:
        raise CheckpointError(
            f"The directory {path} has neither a config.json (Hugging Face) nor an Epoch_N.bin (BitVoyage)."
        )
    return epochs[max(epochs)]


def _check_directory(path: Path, format: str) -> None:
    if format not in ("auto", "huggingface"):
        raise CheckpointError(f"{path} is a Hugging Face directory, but `format` is {format!r}. Use 'auto'.")
    if read_json(path / "config.json").get("model_type") == "fastbert":
        raise CheckpointError(
            f"{path} is already a FastBERT checkpoint. Export it with: fastbert export {path} --output DIR"
        )


def _format_of(path: Path, tensors: Mapping[str, Any], asked: str) -> str:
    fitting = [name for name, module in _FILES.items() if module.matches(tensors)]
    if not fitting:
        raise CheckpointError(
            f"{path} has none of the known formats ({', '.join(FORMATS[1:])}). It holds {len(tensors)} tensors: "
            f"{first_ten(list(tensors))}."
        )
    if asked not in ("auto", *fitting):
        raise CheckpointError(
            f"{path} has the tensor names of {fitting[0]}, but `format` is {asked!r}. Use {fitting[0]!r}."
        )
    return fitting[0]
