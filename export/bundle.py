"""Checkpoint -> bundle."""

import json
import logging
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from fastbert.checkpoint import Checkpoint, load_checkpoint
from fastbert.data import read_texts
from fastbert.data.rows import Row
from fastbert.export.golden import GOLDEN, Golden, write_golden
from fastbert.export.graphs.stages import plan_stages
from fastbert.export.joined.all_stages import chain_model
from fastbert.export.joined.single_row import early_exit_model
from fastbert.export.precisions import PRECISIONS
from fastbert.export.verification.compare import DEFAULT_BOUNDS, Bounds, Verification, verify_bundle
from fastbert.families import position_limit
from fastbert.files.atomic import replace_directory, require_writable
from fastbert.flops import model_flops
from fastbert.reference import compute_reference
from fastbert.runtime.errors import CheckpointError, UsageError, VerificationError
from fastbert.runtime.exit_rule import ExitRule
from fastbert.runtime.manifest import MANIFEST, SCHEMA, file_record
from fastbert.runtime.tokenization import TOKENIZER
from fastbert.tokenization import check_rows, check_vocabulary, pad_token_id, text_encoder

__all__ = ["BUNDLE_FILES", "ExportReport", "export_bundle", "export_checkpoint"]

_COMPACTION, _CHAIN, _ROW = "compaction.onnx", "chain.onnx", "row.onnx"
# What a bundle holds, `build`'s part included: names and patterns.
BUNDLE_FILES = (MANIFEST, TOKENIZER, GOLDEN, *PRECISIONS, "tensorrt-*", ".tensorrt-*.partial", ".build.lock")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote."""

    output: Path
    bytes: int
    verifications: tuple[Verification, ...]


def export_bundle(
    checkpoint: str | Path,
    output: Path,
    *,
    layers_per_stage: int = 1,
    default_speed: float = 0.5,
    verify_data: Path | None = None,
    bounds: Bounds = DEFAULT_BOUNDS,
    precisions: Sequence[str] = ("fp32",),
    exits: Sequence[int] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Export a checkpoint; the bundle appears whole and verified, or not at all.

    :param layers_per_stage: layers in one engine; an exit stands only after an engine's last layer.
    :param exits: instead, the 0-based layers that have an exit, and so end an engine; the last layer always does.
    :param precisions: names in `PRECISIONS`; each becomes a variant of the bundle.
    :param default_speed: used by the runtime where the caller names none.
    :param verify_data: rows to verify on; None: those kept in the checkpoint.
    :param bounds: how far engines may be from PyTorch.
    :raises VerificationError: engines and PyTorch disagree.
    :raises CheckpointError, DataError, UsageError, OutputExistsError: see their docs.
    """
    require_writable(output, overwrite=overwrite, kind=MANIFEST)
    loaded = load_checkpoint(checkpoint)
    labels = loaded.model.config.labels
    rows = read_texts(verify_data, labels=labels) if verify_data is not None else list(loaded.sample_rows)
    if not rows:
        raise UsageError(f"{checkpoint} keeps no rows to verify the engines on. Name a data file with --verify-data.")
    return export_checkpoint(
        loaded,
        output,
        rows=rows,
        layers_per_stage=layers_per_stage,
        default_speed=default_speed,
        bounds=bounds,
        precisions=precisions,
        exits=exits,
        overwrite=overwrite,
    )


def export_checkpoint(
    checkpoint: Checkpoint,
    output: Path,
    *,
    rows: Sequence[Row],
    layers_per_stage: int = 1,
    default_speed: float = 0.5,
    bounds: Bounds = DEFAULT_BOUNDS,
    precisions: Sequence[str] = ("fp32",),
    exits: Sequence[int] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Export a loaded checkpoint, verified on ``rows``; otherwise as `export_bundle`."""
    model, config = checkpoint.model.eval(), checkpoint.model.config
    plan = plan_stages(config.num_exits, layers_per_stage, exits)
    exits = [stage.last for stage in plan]
    ExitRule(default_speed)
    check_vocabulary("the checkpoint", checkpoint.tokenizer, config.backbone_config.vocab_size)
    check_rows("the checkpoint", checkpoint.tokenizer, rows)
    _warn_undistilled(config, exits)
    reference = compute_reference(checkpoint, rows)
    if not np.isfinite(reference.logits).all():
        raise CheckpointError(
            f"PyTorch itself answers with NaN or infinity on the {len(rows)} rows to verify on, so some of the "
            "checkpoint's weights are no numbers: its training diverged. Train again with a lower --learning-rate."
        )
    with replace_directory(output, overwrite=overwrite, kind=MANIFEST, ours=BUNDLE_FILES) as partial:
        golden = Golden.from_reference(rows, reference, exits, config.labels)
        for name in precisions:
            _write_engines(partial / name, PRECISIONS[name].graphs(model, plan, golden))
            if (compaction := PRECISIONS[name].compaction) is not None:
                (partial / name / _COMPACTION).write_bytes(compaction(model).SerializeToString())
            if PRECISIONS[name].engine == "onnxruntime" and len(plan) > 1:
                _write_joined(partial / name, exits)
        _write_tokenizer(checkpoint, partial / TOKENIZER)
        write_golden(partial / GOLDEN, golden, exits)
        manifest = _manifest(checkpoint, partial, exits, default_speed, precisions)
        _write_json(partial / MANIFEST, manifest)
        verifications = tuple(verify_bundle(partial, golden, variant=name, bounds=bounds) for name in precisions)
        problems = [problem for found in verifications for problem in found.problems]
        if problems:
            raise VerificationError(
                f"The engines do not answer as PyTorch does on {len(rows)} rows: {'; '.join(problems)}. "
                "No bundle was written. --tolerance raises the bound where the model's own values are so large that "
                "float32 rounding reaches that far; --max-label-flips raises that of a lossy precision."
            )
        manifest["verification"] = {found.variant: found.as_dict() for found in verifications}
        _write_json(partial / MANIFEST, manifest)
        size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    return ExportReport(output, size, verifications)


def _write_engines(folder: Path, graphs: Iterable[ModelProto]) -> None:
    folder.mkdir()
    for number, graph in enumerate(graphs):
        name = "embeddings.onnx" if number == 0 else f"stage_{number - 1:02d}.onnx"
        (folder / name).write_bytes(graph.SerializeToString())


def _write_joined(folder: Path, exits: Sequence[int]) -> None:
    """Write the models that join the engines, whose weights they read from those files."""
    stages = sorted(folder.glob("stage_*.onnx"))
    (folder / _CHAIN).write_bytes(chain_model(stages).SerializeToString())
    (folder / _ROW).write_bytes(early_exit_model(folder / "embeddings.onnx", stages, exits).SerializeToString())


def _warn_undistilled(config: Any, exits: list[int]) -> None:
    if not config.distilled and len(exits) > 1:
        names = ", ".join(str(layer) for layer in exits[:-1])
        _log.warning(
            "The exits after layers %s were never distilled: their answers are random. "
            "Train them with: fastbert train CHECKPOINT --phase distill",
            names,
        )


def _write_tokenizer(checkpoint: Checkpoint, path: Path) -> None:
    text_encoder(checkpoint.tokenizer, checkpoint.model.config)  # which sets its truncation
    document = json.loads(checkpoint.tokenizer.backend_tokenizer.to_str())
    if checkpoint.tokenizer.split_special_tokens:
        # "[SEP]" in a text is text. tokenizers keeps that switch out of its file; with nothing to find, it needs none.
        document["added_tokens"] = []
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _manifest(
    checkpoint: Checkpoint, bundle: Path, exits: list[int], default_speed: float, precisions: Sequence[str]
) -> dict[str, Any]:
    config = checkpoint.model.config
    backbone = config.backbone_config
    variants = {name: _variant(bundle, name) for name in precisions}
    engines = [path.relative_to(bundle).as_posix() for name in precisions for path in sorted((bundle / name).iterdir())]
    return {
        "schema": SCHEMA,
        "task": "text-classification",
        "labels": config.labels,
        "max_length": config.max_sequence_length,
        "max_positions": position_limit(backbone),
        "vocab_size": backbone.vocab_size,
        "type_vocab_size": backbone.type_vocab_size,
        "layer_norm": config.layer_norm,
        "default_token_type": config.default_token_type,
        "pad_token_id": pad_token_id(checkpoint.tokenizer, backbone),
        "truncation_side": checkpoint.tokenizer.truncation_side,
        "family": backbone.model_type,
        "layers": config.num_exits,
        "hidden_size": backbone.hidden_size,
        "exits": exits,
        "distilled": config.distilled,
        "default_speed": default_speed,
        "flops": model_flops(config),
        "variants": variants,
        "files": {name: file_record(bundle / name) for name in [*engines, TOKENIZER, GOLDEN]},
        "verification": {},
        "made_with": {
            "python": platform.python_version(),
            "fastbert-deploy": _version("fastbert-deploy"),
            **{name: _version(name) for name in ("torch", "transformers", "tokenizers", "onnx", "onnxruntime")},
        },
    }


def _variant(bundle: Path, name: str) -> dict[str, Any]:
    precision = PRECISIONS[name]
    stages = sorted(path.relative_to(bundle).as_posix() for path in (bundle / name).glob("stage_*.onnx"))
    return {
        "precision": precision.dtype,
        "exact": precision.exact,
        "devices": list(precision.devices),
        "engine": precision.engine,
        "saturates": precision.saturates,
        "embeddings": f"{name}/embeddings.onnx",
        "stages": stages,
        **{
            key: f"{name}/{file}" if (bundle / name / file).exists() else None
            for key, file in (("compaction", _COMPACTION), ("chain", _CHAIN), ("row", _ROW))
        },
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except ModuleNotFoundError:
        return None


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
