"""``fastbert build``: a variant of ONNX graphs -> a variant of engines of TensorRT, or of TensorRT for RTX.

TensorRT needs the GPU that will run them. TensorRT for RTX needs none; without one, the answers are not verified.

Engines are made in a hidden folder of the bundle and each is kept once it is complete, so a stopped build resumes. The
manifest names the new variant only after every engine was inspected and, on a GPU, the chain gave the right answers.
"""

import json
import logging
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbert.export.exclusive import exclusive_bundle
from fastbert.export.golden import GOLDEN, read_golden
from fastbert.export.manifest import ManifestWriter, files_of
from fastbert.export.tensorrt.builder import EngineBuilder
from fastbert.export.tensorrt.parts import ROW, Part, parts_of
from fastbert.export.tensorrt.resumable import ResumableBuild
from fastbert.export.tensorrt.targets import find_target
from fastbert.export.verification.compare import verify_classifier
from fastbert.export.verification.outcome import DEFAULT_BOUNDS, Bounds, Verification
from fastbert.runtime import Classifier
from fastbert.runtime.engines.gpu.tensorrt.engines import load_engines
from fastbert.runtime.engines.gpu.tensorrt.libraries import LIBRARIES, TENSORRT, Library
from fastbert.runtime.engines.gpu.tensorrt.profiles import Buckets
from fastbert.runtime.errors import (
    BundleError,
    EngineError,
    FastBertError,
    OutputExistsError,
    UsageError,
    VerificationError,
)
from fastbert.runtime.manifest import MANIFEST, Manifest, Variant, check_files, read_manifest

_BATCHES, _SEQUENCES = (1, 8, 32), (32, 64, 128)
_TIMING_CACHE = "timing.cache"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildOptions:
    """What to build. Each batch size with each sequence length is one bucket, and one optimization profile.

    :param engine: the library: ``"tensorrt"`` or ``"tensorrt-rtx"``.
    :param variant: the ONNX variant to build from, which decides the precision.
    :param batches: largest batch of each bucket, in rows.
    :param sequences: tokens of each bucket; None: 32, 64 and 128 as far as they are below the bundle's
        ``max_length``, and ``max_length``.
    :param level: TensorRT's builder optimization level, 0 to 5: how many ways to compute a layer it times.
    :param bounds: how far answers may be from PyTorch's.
    :param compute_capabilities: of the GPUs that TensorRT for RTX builds for, such as ``"8.9"``, or ``"current"``
        alone; empty: its default set.
    :param single_row: also build one engine of the whole early exit of a single row, which holds all weights once more;
        None: where the library is known to build it.
    """

    variant: str = "fp16"
    batches: tuple[int, ...] = _BATCHES
    sequences: tuple[int, ...] | None = None
    level: int = 3
    bounds: Bounds = DEFAULT_BOUNDS
    engine: str = TENSORRT.name
    compute_capabilities: tuple[str, ...] = ()
    single_row: bool | None = None


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    :param bytes: of the engines.
    :param built_s: engine -> seconds that its build took.
    :param kept: engines that an earlier, stopped build had completed.
    :param low_precision: engine -> share of its layers in float16 or int8; empty: the library cannot tell.
    :param verification: None: not run, as a note says.
    :param notes: what the user should know about the verification, and of texts that the engines refuse.
    """

    variant: str
    bytes: int
    built_s: dict[str, float]
    kept: tuple[str, ...]
    low_precision: dict[str, float]
    verification: Verification | None
    notes: tuple[str, ...]


def build(bundle: Path, options: BuildOptions = BuildOptions(), *, overwrite: bool = False) -> BuildReport:
    """Build, inspect and verify engines, then add them to the bundle as a variant.

    Builds of one bundle run one after another, in any number of processes: TensorRT times its choices on the GPU.

    :param overwrite: replace engines that are already built.
    :raises EngineError: no library, no GPU that the build needs, engines that failed, or a full disk; what is complete
        is kept.
    :raises VerificationError: the engines do not answer as PyTorch does.
    :raises UsageError: the bundle has no such variant, the sizes do not fit the model, a compute capability is
        unknown, or the bundle cannot be written.
    :raises BundleError: the bundle is damaged.
    :raises OutputExistsError: the variant is already built, and ``overwrite`` is false.
    """
    manifest = read_manifest(bundle)
    source = _source(manifest, options.variant)
    buckets = _buckets(manifest, options)
    check_files(bundle, manifest, source.files, contents=True)
    target = find_target(options.engine, options.compute_capabilities)
    library, writer = target.library, ManifestWriter(target.library.build_extra)
    parts = parts_of(bundle, manifest, source, library, options.single_row)
    name = target.variant(source.name)
    settings = {
        "source": source.name,
        **target.settings,
        "profiles": buckets.as_records(),
        "optimization_level": options.level,
    }
    with exclusive_bundle(bundle):
        manifest = read_manifest(bundle)  # another build may have ended meanwhile
        if name in {variant.name for variant in manifest.variants} and not overwrite:
            raise OutputExistsError(f"{bundle} already has the variant {name}. Use `overwrite` to build it again.")
        progress = ResumableBuild(bundle / f".{name}.partial", settings)
        builder = EngineBuilder(
            library,
            buckets,
            hidden_size=manifest.hidden_size,
            gpu=target.gpu,
            level=options.level,
            timing_cache=progress.folder / _TIMING_CACHE,
            compute_capabilities=target.compute_capabilities,
        )
        built, kept = _build_engines(parts, source, builder, progress)
        progress.keep_only([part.graph for part in parts])
        details = {**settings, **({"low_precision": progress.low_precision} if library.reports_types else {})}
        row = parts[-1].graph == ROW
        candidate = Variant.from_record(name, _record(library, progress.folder.name, source, details, row=row))
        verification: Verification | None = None
        reason = f"{name} was built and inspected, but its answers were not verified, as {target.no_gpu}."
        mend = f"fastbert verify {shlex.quote(str(bundle))} --device {library.name} --variant {name}"
        notes: tuple[str, ...] = (f"{reason} Verify them on a GPU that runs it: {mend}",)
        if target.gpu is not None:
            verification, notes = _verify(bundle, manifest, candidate, buckets, options.bounds)
        notes += _too_short(manifest, buckets)
        outcome = {"passed": None, "reason": reason} if verification is None else verification.as_dict()
        size = _publish(bundle, name, progress, _record(library, name, source, details, row=row), outcome, writer)
    return BuildReport(name, size, built, kept, progress.low_precision, verification, notes)


def _source(manifest: Manifest, name: str) -> Variant:
    sources = {held.name: held for held in manifest.variants if held.compaction and held.checkable_on_cpu}
    if name not in sources:
        raise UsageError(
            f"`variant` is {name!r}, which the bundle cannot build from; it has "
            f"{', '.join(sources) or 'no variant for a GPU'}. "
            f"Export it with: fastbert export MODEL --output BUNDLE --precision fp32,{name}"
        )
    return sources[name]


def _buckets(manifest: Manifest, options: BuildOptions) -> Buckets:
    limit, sequences = manifest.max_length, options.sequences
    if sequences is None:
        sequences = (*(length for length in _SEQUENCES if length < limit), limit)
    buckets = Buckets.from_sizes(options.batches, sequences)
    if buckets.max_sequence > manifest.max_positions:
        raise UsageError(
            f"`sequences` has {buckets.max_sequence}; the longest that the model takes is {manifest.max_positions}."
        )
    return buckets


def _too_short(manifest: Manifest, buckets: Buckets) -> tuple[str, ...]:
    if buckets.max_sequence >= manifest.max_length:
        return ()
    return (
        f"The engines take texts of up to {buckets.max_sequence} tokens and refuse longer ones; the bundle's "
        f"max_length is {manifest.max_length}. Add {manifest.max_length} to `sequences` to run them.",
    )


def _build_engines(
    parts: list[Part], source: Variant, builder: EngineBuilder, progress: ResumableBuild
) -> tuple[dict[str, float], tuple[str, ...]]:
    built, kept, failed = {}, [], dict[str, FastBertError]()
    for number, part in enumerate(parts, start=1):
        place = f"{number}/{len(parts)} {part.graph}"
        if progress.has(part.graph, part.sha256):
            kept.append(part.graph)
            _log.info("%s: kept from an earlier build", place)
            continue
        began = time.perf_counter()
        try:
            plan = builder.build(part.graph, part.read())
            share = None if source.precision == "float32" else builder.low_precision_share(part.graph, plan)
        except (EngineError, BundleError) as error:
            failed[part.graph] = error
            _log.info("%s: FAILED: %s", place, error)
            continue
        progress.add(part.graph, plan, part.sha256, share)
        built[part.graph] = time.perf_counter() - began
        types = "" if share is None else f", {share:.0%} low precision"
        _log.info("%s: %.1f s, %.1f MB%s", place, built[part.graph], len(plan) / 1e6, types)
    if failed:
        first = next(iter(failed.values()))
        raise EngineError(
            f"{len(failed)} of {len(parts)} engines failed: {', '.join(failed)}. The first error: {first} The others "
            "are kept: the same command builds only what is missing."
        )
    return built, tuple(kept)


def _record(library: Library, folder: str, source: Variant, details: dict[str, Any], *, row: bool) -> dict[str, Any]:
    def engine(file: str | None) -> str:
        return f"{folder}/{Path(str(file)).stem}.engine"

    return {
        "precision": source.precision,
        "exact": source.exact,
        "devices": [library.name],
        "engine": library.name,
        "embeddings": engine(source.embeddings),
        "stages": [engine(file) for file in source.stages],
        "compaction": engine(source.compaction),
        **({"row": engine(ROW)} if row else {}),
        "tensorrt": details,
    }


def _verify(
    bundle: Path, manifest: Manifest, variant: Variant, buckets: Buckets, bounds: Bounds
) -> tuple[Verification, tuple[str, ...]]:
    golden = read_golden(bundle / GOLDEN)
    fits = golden.attention_mask.sum(axis=1) <= buckets.max_sequence
    if not fits.any():
        raise UsageError(
            f"None of the bundle's {len(fits)} golden rows fits the profiles ({buckets}), so nothing can be verified. "
            "Add a longer one to `sequences`."
        )
    too_long = int((~fits).sum())
    notes = (f"{too_long} of {len(fits)} golden rows are longer than every profile: not verified",) if too_long else ()
    engine = load_engines(LIBRARIES[variant.engine], bundle, variant, cuda_graphs=False)
    verification = verify_classifier(
        Classifier._from_engine(bundle, manifest, engine), variant, golden.select(fits), bounds=bounds
    )
    if verification.problems:
        raise VerificationError(
            f"The engines do not answer as PyTorch does: {'; '.join(verification.problems)}. The bundle is unchanged."
        )
    return verification, notes


def _publish(
    bundle: Path,
    name: str,
    progress: ResumableBuild,
    record: dict[str, Any],
    verification: dict[str, Any],
    writer: ManifestWriter,
) -> int:
    """Move the engines into place and name them in the manifest; return their size in bytes."""
    document = json.loads((bundle / MANIFEST).read_bytes())
    _remove_variant(document, name)
    if (bundle / name).exists():
        writer.write(bundle, document)  # the manifest never names engines that are being replaced
        shutil.rmtree(bundle / name)
    progress.move_to(bundle / name)
    files = files_of(bundle, Variant.from_record(name, record).files)
    document["variants"][name] = record
    document["files"] |= files
    document.setdefault("verification", {})[name] = verification
    writer.write(bundle, document)
    return sum(file["bytes"] for file in files.values())


def _remove_variant(document: dict[str, Any], name: str) -> None:
    document["variants"].pop(name, None)
    document.get("verification", {}).pop(name, None)
    document["files"] = {file: record for file, record in document["files"].items() if not file.startswith(f"{name}/")}
