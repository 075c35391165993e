"""Checkpoint -> bundle."""

import json
import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastbert.atomic import replace_directory, require_absent
from fastbert.checkpoint import Checkpoint, load_checkpoint
from fastbert.data import read_texts
from fastbert.export.golden import GOLDEN, Golden, write_golden
from fastbert.export.stages import embeddings_graph, plan_stages, stage_graph
from fastbert.export.verification import TOLERANCE, Verification, verify_bundle
from fastbert.families import position_limit
from fastbert.flops import model_flops
from fastbert.reference import compute_reference
from fastbert.rows import Row
from fastbert.runtime.errors import UsageError, VerificationError
from fastbert.runtime.exit_rule import ExitRule
from fastbert.runtime.manifest import MANIFEST, SCHEMA, file_record
from fastbert.runtime.tokenization import TOKENIZER

__all__ = ["ExportReport", "export_bundle", "export_checkpoint"]

_VARIANT = "fp32"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote."""

    output: Path
    bytes: int
    verification: Verification


def export_bundle(
    checkpoint: str | Path,
    output: Path,
    *,
    layers_per_stage: int = 1,
    default_speed: float = 0.5,
    verify_data: Path | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> ExportReport:
    """Export a checkpoint; the bundle appears whole and verified, or not at all.

    :param layers_per_stage: layers in one engine; an exit stands only after an engine's last layer.
    :param default_speed: used by the runtime where the caller names none.
    :param verify_data: rows to verify on; None: those kept in the checkpoint.
    :param tolerance: largest logit difference to PyTorch allowed.
    :raises VerificationError: engines and PyTorch disagree.
    :raises CheckpointError, DataError, UsageError, OutputExistsError: see their docs.
    """
    require_absent(output, overwrite=overwrite)
    loaded = load_checkpoint(checkpoint)
    rows = read_texts(verify_data) if verify_data is not None else list(loaded.sample_rows)
    if not rows:
        raise UsageError(f"{checkpoint} keeps no rows to verify the engines on. Name a data file with --verify-data.")
    return export_checkpoint(
        loaded,
        output,
        rows=rows,
        layers_per_stage=layers_per_stage,
        default_speed=default_speed,
        tolerance=tolerance,
        overwrite=overwrite,
    )


def export_checkpoint(
    checkpoint: Checkpoint,
    output: Path,
    *,
    rows: Sequence[Row],
    layers_per_stage: int = 1,
    default_speed: float = 0.5,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> ExportReport:
    """Export a loaded checkpoint, verified on ``rows``; otherwise as `export_bundle`."""
    model, config = checkpoint.model.eval(), checkpoint.model.config
    plan = plan_stages(config.num_exits, layers_per_stage)
    exits = [stage.last for stage in plan]
    ExitRule(default_speed)
    _warn_undistilled(config, exits)
    reference = compute_reference(checkpoint, rows)
    with replace_directory(output, overwrite=overwrite) as partial:
        folder = partial / _VARIANT
        folder.mkdir()
        (folder / "embeddings.onnx").write_bytes(embeddings_graph(model).SerializeToString())
        for number, stage in enumerate(plan):
            (folder / f"stage_{number:02d}.onnx").write_bytes(stage_graph(model, stage).SerializeToString())
        _write_tokenizer(checkpoint, partial / TOKENIZER)
        golden = Golden.from_reference(rows, reference, exits)
        write_golden(partial / GOLDEN, golden, exits)
        manifest = _manifest(checkpoint, partial, exits, default_speed)
        _write_json(partial / MANIFEST, manifest)
        verification = verify_bundle(partial, golden, tolerance=tolerance)
        if verification.problems:
            raise VerificationError(
                f"The engines do not answer as PyTorch does on {len(rows)} rows: {'; '.join(verification.problems)}. "
                "No bundle was written. Where the model's own values are so large that float32 rounding reaches that far, "
                "--tolerance raises the bound."
            )
        manifest["verification"] = {_VARIANT: verification.as_dict()}
        _write_json(partial / MANIFEST, manifest)
        size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    return ExportReport(output, size, verification)


def _warn_undistilled(config: Any, exits: list[int]) -> None:
    if not config.distilled and len(exits) > 1:
        names = ", ".join(str(layer) for layer in exits[:-1])
        _log.warning(
            "The exits after layers %s were never distilled: their answers are random. "
            "Train them with: fastbert train CHECKPOINT --stage distill",
            names,
        )


def _write_tokenizer(checkpoint: Checkpoint, path: Path) -> None:
    tokenizer = checkpoint.tokenizer.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    document = json.loads(tokenizer.to_str())
    if checkpoint.tokenizer.split_special_tokens:
        # "[SEP]" in a text is text. tokenizers keeps that switch out of its file; with nothing to find, it needs none.
        document["added_tokens"] = []
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _manifest(checkpoint: Checkpoint, bundle: Path, exits: list[int], default_speed: float) -> dict[str, Any]:
    config = checkpoint.model.config
    backbone = config.backbone_config
    engines = sorted(path.relative_to(bundle).as_posix() for path in (bundle / _VARIANT).iterdir())
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
        "pad_token_id": checkpoint.tokenizer.pad_token_id,
        "family": backbone.model_type,
        "layers": config.num_exits,
        "hidden_size": backbone.hidden_size,
        "exits": exits,
        "distilled": config.distilled,
        "default_speed": default_speed,
        "flops": model_flops(config),
        "variants": {
            _VARIANT: {
                "precision": "float32",
                "devices": ["cpu"],
                "engine": "onnxruntime",
                "embeddings": f"{_VARIANT}/embeddings.onnx",
                "stages": [name for name in engines if "/stage_" in name],
            }
        },
        "files": {name: file_record(bundle / name) for name in [*engines, TOKENIZER, GOLDEN]},
        "verification": {},
        "made_with": {
            "python": platform.python_version(),
            "fastbert-deploy": _version("fastbert-deploy"),
            **{name: _version(name) for name in ("torch", "transformers", "tokenizers", "onnx", "onnxruntime")},
        },
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except ModuleNotFoundError:
        return None


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
