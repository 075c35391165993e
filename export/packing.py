"""``fastbert pack``: a variant's single-row model as one ONNX file, for programs that have only ONNX Runtime.

The file is ``row.onnx`` with its weights inside and, as the model's metadata, what a host needs from the manifest.
`docs/bundle-format.md` ("The packed file") specifies it.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, load_model

from fastbert.export.golden import CHECKED_SPEEDS, GOLDEN, Golden, read_golden
from fastbert.export.joined.external_weights import embed_weights
from fastbert.export.joined.single_row import single_row_model
from fastbert.files.atomic import replace_file, require_writable_file
from fastbert.runtime import ChainOutput, Classifier
from fastbert.runtime.engines.cpu.sessions import (
    DISABLED_OPTIMIZERS,
    SessionPlan,
    import_onnxruntime,
    session_options,
)
from fastbert.runtime.errors import BundleError, OutputExistsError, UsageError, VerificationError
from fastbert.runtime.manifest import MANIFEST, Manifest, Variant, check_files, file_versions, read_manifest
from fastbert.runtime.tensors import ROW_INPUTS, ROW_OUTPUTS
from fastbert.runtime.tokenization import TOKENIZER
from fastbert.version import __version__

_PREFIX = "fastbert."  # of the metadata's keys
_SCHEMA_KEY, _SCHEMA = f"{_PREFIX}schema", "fastbert-packed/1"
_TAIL_BYTES = 256  # the schema is the last entry of the metadata, which ends the file
_MOST_BYTES = 2**31 - 1  # of one protobuf message
_ROUNDING = 1e-4  # between a bundle's stages and their joined model: docs/bundle-format.md


@dataclass(frozen=True)
class PackReport:
    """What `pack` wrote.

    :param variant: name of the variant inside.
    :param bytes: size of the file.
    :param bundle_sha256: of the bundle's ``manifest.json``, in hexadecimal.
    :param rows: golden rows on which the file gave the bundle's answers.
    """

    output: Path
    variant: str
    bytes: int
    bundle_sha256: str
    rows: int


def pack(bundle: Path, output: Path, *, variant: str | None = None, overwrite: bool = False) -> PackReport:
    """Write a variant as one ONNX file that needs no other. It appears whole and checked, or not at all.

    Before it appears, ONNX Runtime runs the bundle's golden rows through it: its answers must be the bundle's.

    :param variant: a variant for the CPU; None: the bundle's first.
    :param overwrite: replace a packed file at ``output``; any other file is refused.
    :raises BundleError: the bundle is missing, damaged, or replaced meanwhile.
    :raises UsageError: there is no such variant for the CPU, it is too large for one file, or ``output`` cannot be
        written.
    :raises OutputExistsError: ``output`` exists and may not be replaced.
    :raises VerificationError: the file does not answer as the bundle does.
    :raises EngineError: onnxruntime is not installed, or cannot run the bundle here.
    """
    import_onnxruntime()  # first: what is missing is said before the work begins
    _require_writable(output, overwrite=overwrite)
    before = file_versions(bundle, (MANIFEST,))
    manifest = read_manifest(bundle)
    before |= file_versions(bundle, manifest.files)
    chosen = manifest.variant_for("cpu", variant)
    check_files(bundle, manifest, (*chosen.files, TOKENIZER, GOLDEN), contents=True)
    digest = hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()
    model = _model(bundle, manifest, chosen)
    _describe(model, _metadata(manifest, chosen, digest))
    content = model.SerializeToString()
    del model
    rows = _check_answers(content, bundle, chosen, read_golden(bundle / GOLDEN))
    if file_versions(bundle, before) != before:
        raise BundleError(f"{bundle} was replaced or written to while it was packed. Pack it again.")
    _require_writable(output, overwrite=overwrite)
    replace_file(output, content)
    return PackReport(output, chosen.name, len(content), digest, rows)


def _require_writable(output: Path, *, overwrite: bool) -> None:
    require_writable_file(output)
    if not output.exists():
        return
    if not overwrite:
        raise OutputExistsError(f"{output} already exists. Choose another `output`, or replace it with `overwrite`.")
    if not _is_packed(output):
        raise OutputExistsError(
            f"{output} is not a packed file, so `overwrite` would destroy something else. Choose another `output`."
        )


def _is_packed(path: Path) -> bool:
    if not path.is_file():  # reading a pipe would wait for a writer
        return False
    with suppress(OSError), path.open("rb") as file:
        file.seek(-min(_TAIL_BYTES, path.stat().st_size), os.SEEK_END)
        return _SCHEMA_KEY.encode() in file.read(_TAIL_BYTES)
    return False


def _model(bundle: Path, manifest: Manifest, variant: Variant) -> ModelProto:
    """Return the single-row model with its weights inside. Errors as in `pack`."""
    embeddings, stages = bundle / variant.embeddings, [bundle / stage for stage in variant.stages]
    try:
        if variant.row is None:  # a bundle of one stage, or one of the first
            model = single_row_model(embeddings, stages, manifest.exits)
        else:
            model = load_model(bundle / variant.row, load_external_data=False)
        size = model.ByteSize() + sum(part.stat().st_size for part in (embeddings, *stages))
        if size > _MOST_BYTES:
            raise UsageError(
                f"The variant {variant.name!r} takes {size / 2**30:.1f} GiB; one ONNX file holds at most 2 GiB. Pack a "
                f"smaller one with `variant`, such as int8, or let the host load {variant.row or 'the engines'} from "
                "the bundle itself."
            )
        embed_weights(model, {part.name: part for part in (embeddings, *stages)})
    except UsageError:
        raise
    except Exception as error:  # protobuf, onnx and the system raise different ones
        raise BundleError(
            f"The engines of {bundle / variant.name} cannot be joined: {error}. Export the bundle again."
        ) from error
    return model


def _metadata(manifest: Manifest, variant: Variant, digest: str) -> dict[str, Any]:
    """Return what a host needs: name without the prefix -> value. The schema comes last."""
    same = (
        "labels",
        "max_length",
        "max_positions",
        "vocab_size",
        "type_vocab_size",
        "default_token_type",
        "pad_token_id",
        "truncation_side",
        "layers",
        "exits",
        "uncertainty",
        "default_speed",
    )
    return {
        **{name: getattr(manifest, name) for name in same},
        "variant": variant.name,
        "precision": variant.precision,
        "exact": variant.exact,
        "saturates": variant.saturates,
        "bundle_sha256": digest,
        "tokenizer_sha256": manifest.files[TOKENIZER]["sha256"].lower(),
        "schema": _SCHEMA,
    }


def _describe(model: ModelProto, metadata: dict[str, Any]) -> None:
    model.producer_name, model.producer_version = "fastbert", __version__
    del model.metadata_props[:]
    for name, value in metadata.items():
        model.metadata_props.add(key=f"{_PREFIX}{name}", value=json.dumps(value, ensure_ascii=False))


def _check_answers(content: bytes, bundle: Path, variant: Variant, golden: Golden) -> int:
    """Run each golden row through the file and through the bundle, at one speed each; return the number of rows.

    :raises VerificationError: an answer differs: by a bit where the bundle runs ``row.onnx``, else by more than
        rounding.
    """
    ort = import_onnxruntime()
    classifier = Classifier.load(bundle, variant=variant.name, threads=1)
    # as the bundle's own session has it: other kernels would round otherwise
    options = session_options(ort, threads=1, saturates=variant.saturates)
    try:
        session = ort.InferenceSession(
            content,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=DISABLED_OPTIMIZERS,
            enable_fallback=0,  # which would print to stdout
        )
    except Exception as error:
        raise VerificationError(f"onnxruntime {ort.__version__} cannot load the packed file: {error}.") from error
    runs_row = SessionPlan.from_variant(bundle, variant, threads=1).row is not None  # else its stages
    bound = 0.0 if runs_row else _ROUNDING
    for row, (feeds, expected) in enumerate(_expected(classifier, golden)):
        logits, exit_layer, uncertainty = session.run(ROW_OUTPUTS, feeds)
        difference = max(np.abs(logits - expected.logits).max(), np.abs(uncertainty - expected.uncertainty).max())
        if exit_layer.tolist() != expected.exit_layer.tolist() or not difference <= bound:  # a NaN must fail
            raise VerificationError(
                f"The packed file answers golden row {row} with {logits[0].tolist()} after layer {exit_layer[0]}, the "
                f"bundle with {expected.logits[0].tolist()} after layer {expected.exit_layer[0]}, at speed "
                f"{feeds['speed'][0]:.1f}. No file was written. Export the bundle again with this version."
            )
    return len(golden.input_ids)


def _expected(classifier: Classifier, golden: Golden) -> Iterator[tuple[dict[str, Any], ChainOutput]]:
    """Yield the inputs of each golden row, without padding, and the bundle's answer."""
    for row, length in enumerate(golden.attention_mask.sum(axis=1)):
        ids, types = (array[[row], :length] for array in (golden.input_ids, golden.token_type_ids))
        speed = CHECKED_SPEEDS[row % len(CHECKED_SPEEDS)]
        values = (ids, types, np.array([speed], np.float32))
        yield dict(zip(ROW_INPUTS, values, strict=True)), classifier.run(ids, None, types, speed=speed)
