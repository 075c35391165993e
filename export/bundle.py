"""Checkpoint -> bundle."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from fastbert.checkpoint import Checkpoint, load_checkpoint
from fastbert.data import read_texts
from fastbert.data.rows import Row
from fastbert.export.golden import GOLDEN, Golden, write_golden
from fastbert.export.graphs.stages import StagePlan, plan_stages
from fastbert.export.joined.all_stages import all_stages_model
from fastbert.export.joined.single_row import single_row_model
from fastbert.export.manifest import ManifestWriter, files_of, versions
from fastbert.export.options import DEFAULT_OPTIONS, ExportOptions
from fastbert.export.precisions import PRECISIONS, check_precisions
from fastbert.export.verification.compare import verify_bundle
from fastbert.export.verification.outcome import Verification
from fastbert.families import position_limit
from fastbert.files.atomic import replace_directory, require_writable
from fastbert.flops import model_flops
from fastbert.reference import compute_reference
from fastbert.runtime.errors import CheckpointError, UsageError, VerificationError
from fastbert.runtime.manifest import MANIFEST, SCHEMA, file_record
from fastbert.runtime.tokenization import TOKENIZER
from fastbert.tokenization import check_rows, check_vocabulary, pad_token_id, text_encoder
from fastbert.uncertainty import check_measure

_EMBEDDINGS = "embeddings.onnx"
# field of a variant in the manifest -> the file that only some variants have
_EXTRA_MODELS = {"compaction": "compaction.onnx", "chain": "chain.onnx", "row": "row.onnx"}
# What a bundle holds, what `fastbert build` and `tune` add included: names and patterns.
_BUNDLE_FILES = (
    *(MANIFEST, TOKENIZER, GOLDEN, *PRECISIONS, "tensorrt-*", ".tensorrt-*.partial", ".build.lock"),
    ".exits",  # of `fastbert tune`
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    :param bytes: of all files of the bundle.
    :param verifications: one per variant.
    """

    output: Path
    bytes: int
    verifications: tuple[Verification, ...]


def export_bundle(
    checkpoint: str | Path | Checkpoint,
    output: Path,
    options: ExportOptions = DEFAULT_OPTIONS,
    *,
    overwrite: bool = False,
) -> ExportReport:
    """Export a checkpoint. The bundle appears whole and verified, or not at all.

    :param checkpoint: a directory or hub name, or a checkpoint that is already loaded.
    :param output: directory to write.
    :param overwrite: replace a bundle at ``output``.
    :raises VerificationError: engines and PyTorch disagree.
    :raises CheckpointError: the checkpoint cannot be loaded or exported.
    :raises DataError: ``verify_data`` cannot be read.
    :raises UsageError: an option does not fit the model, or there are no rows to verify on.
    :raises OutputExistsError: ``output`` exists and may not be replaced.
    """
    check_precisions(options.precisions)
    if options.uncertainty is not None:
        check_measure(options.uncertainty)
    require_writable(output, overwrite=overwrite, kind=MANIFEST)
    writer = ManifestWriter("export")
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
    model, config = loaded.model.eval(), loaded.model.config
    rows = _rows(loaded, options)
    measure = options.uncertainty or config.uncertainty
    plan = plan_stages(config.num_exits, options.layers_per_stage, _chosen_exits(config, options), measure)
    exits = [stage.last for stage in plan]
    check_vocabulary("the checkpoint", loaded.tokenizer, config.backbone_config.vocab_size)
    check_rows("the checkpoint", loaded.tokenizer, rows)
    _warn_undistilled(config, exits)
    reference = compute_reference(loaded, rows, measure)
    if not np.isfinite(reference.logits).all():
        raise CheckpointError(
            f"PyTorch itself answers with NaN or infinity on the {len(rows)} rows to verify on, so some weights of the "
            "checkpoint are not finite: its training diverged. Train again with a lower `learning_rate`."
        )
    golden = Golden.from_reference(rows, reference, exits, config.labels)
    with replace_directory(output, overwrite=overwrite, kind=MANIFEST, ours=_BUNDLE_FILES) as partial:
        for name in options.precisions:
            _write_variant(partial / name, model, plan, golden)
        _write_tokenizer(loaded, partial / TOKENIZER)
        write_golden(partial / GOLDEN, golden, exits)
        manifest = _manifest(loaded, partial, exits, options)
        writer.write(partial, manifest)  # already here, since the runtime that verifies reads it
        verifications = _verify(partial, golden, options)
        manifest["verification"] = {outcome.variant: outcome.as_dict() for outcome in verifications}
        writer.write(partial, manifest)
        size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    return ExportReport(output, size, verifications)


def _rows(checkpoint: Checkpoint, options: ExportOptions) -> list[Row]:
    data = options.verify_data
    if isinstance(data, str | Path):
        return list(read_texts(Path(data), labels=checkpoint.model.config.labels))
    rows = list(checkpoint.sample_rows if data is None else data)
    if not rows:
        raise UsageError("There are no rows to verify the engines on. Name a data file with `verify_data`.")
    return rows


def _write_variant(folder: Path, model: Any, plan: Sequence[StagePlan], golden: Golden) -> None:
    precision = PRECISIONS[folder.name]
    folder.mkdir()
    stages = [folder / f"stage_{number:02d}.onnx" for number in range(len(plan))]
    _write_models([folder / _EMBEDDINGS, *stages], precision.graphs(model, plan, golden))
    if precision.compaction is not None:
        _write_models([folder / _EXTRA_MODELS["compaction"]], [precision.compaction(model)])
    if "cpu" in precision.devices and len(plan) > 1:
        exits = [stage.last for stage in plan]
        _write_models([folder / _EXTRA_MODELS["chain"]], [all_stages_model(stages)])
        _write_models([folder / _EXTRA_MODELS["row"]], [single_row_model(folder / _EMBEDDINGS, stages, exits)])


def _write_models(files: Sequence[Path], models: Iterable[ModelProto]) -> None:
    for file, model in zip(files, models, strict=True):
        file.write_bytes(model.SerializeToString())


def _write_tokenizer(checkpoint: Checkpoint, path: Path) -> None:
    text_encoder(checkpoint.tokenizer, checkpoint.model.config)  # sets its truncation
    document = json.loads(checkpoint.tokenizer.backend_tokenizer.to_str())
    if checkpoint.tokenizer.split_special_tokens:
        # "[SEP]" in a text is plain text. The file cannot say so (tokenizers#1839); without added tokens it need not.
        document["added_tokens"] = []
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _verify(bundle: Path, golden: Golden, options: ExportOptions) -> tuple[Verification, ...]:
    outcomes = tuple(verify_bundle(bundle, golden, variant=name, bounds=options.bounds) for name in options.precisions)
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    if problems:
        raise VerificationError(
            f"The engines do not answer as PyTorch does on {len(golden.texts)} rows: {'; '.join(problems)}. "
            "No bundle was written. Raise `tolerance` if the logits of this model are so large that float32 rounding "
            "explains the difference, `max_label_flips` if a lossy precision may change more answers."
        )
    return outcomes


def _chosen_exits(config: Any, options: ExportOptions) -> Sequence[int] | None:
    """Return the exits that were asked for; by default the last one alone where the others were never trained."""
    if config.distilled or options.exits is not None or options.layers_per_stage > 1 or config.num_exits == 1:
        return options.exits
    _log.warning(
        "Only the last exit is exported: the others were never distilled, so their answers would be random. Train them "
        "with: fastbert train CHECKPOINT --phase distill"
    )
    return [config.num_exits - 1]


def _warn_undistilled(config: Any, exits: list[int]) -> None:
    if not config.distilled and len(exits) > 1:
        names = ", ".join(str(layer) for layer in exits[:-1])
        _log.warning(
            "The exits after layers %s were never distilled: their answers are random. "
            "Train them with: fastbert train CHECKPOINT --phase distill",
            names,
        )


def _manifest(checkpoint: Checkpoint, bundle: Path, exits: list[int], options: ExportOptions) -> dict[str, Any]:
    config = checkpoint.model.config
    backbone = config.backbone_config
    engines = [
        path.relative_to(bundle).as_posix() for name in options.precisions for path in sorted((bundle / name).iterdir())
    ]
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
        "uncertainty": options.uncertainty or config.uncertainty,
        "default_speed": options.default_speed,
        "flops": model_flops(config),
        "variants": {name: _variant(bundle, name) for name in options.precisions},
        "files": files_of(bundle, [*engines, TOKENIZER, GOLDEN]),
        "data": _data_files(checkpoint, options),
        "verification": {},
        "made_with": versions(),
    }


def _data_files(checkpoint: Checkpoint, options: ExportOptions) -> dict[str, list[str]]:
    """Return the sha256 of the files that the model was trained and verified on, by use, as far as they are known."""
    recorded = checkpoint.training.get("data")
    found = {use: list(digests) for use, digests in recorded.items()} if isinstance(recorded, dict) else {}
    data = options.verify_data
    if isinstance(data, str | Path) and Path(data).is_file():
        found["verify"] = [file_record(Path(data))["sha256"]]
    return found


def _variant(bundle: Path, name: str) -> dict[str, Any]:
    precision = PRECISIONS[name]
    stages = sorted(path.relative_to(bundle).as_posix() for path in (bundle / name).glob("stage_*.onnx"))
    return {
        "precision": precision.dtype,
        "exact": precision.exact,
        "devices": list(precision.devices),
        "engine": precision.engine,
        "saturates": precision.saturates,
        "embeddings": f"{name}/{_EMBEDDINGS}",
        "stages": stages,
        **{
            field: f"{name}/{file}" if (bundle / name / file).exists() else None
            for field, file in _EXTRA_MODELS.items()
        },
    }
