"""``fastbert build``: a variant of ONNX graphs -> a variant of TensorRT engines, on the GPU that will run them.

Engines are made in a hidden folder of the bundle, each kept as soon as it is done, so that a build goes on where it
stopped. The manifest declares the variant last, when every engine was inspected and the chain gave the right answers:
until then the bundle is what it was.
"""

import fcntl
import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbert.export.golden import GOLDEN, read_golden
from fastbert.export.tensorrt.builder import EngineBuilder
from fastbert.export.verification.compare import DEFAULT_BOUNDS, Bounds, Verification, verify_classifier
from fastbert.files.atomic import replace_file
from fastbert.runtime import Classifier
from fastbert.runtime.engines.gpu import tensorrt
from fastbert.runtime.engines.gpu.cuda import open_gpu
from fastbert.runtime.engines.gpu.profiles import Buckets
from fastbert.runtime.errors import EngineError, OutputExistsError, UsageError, VerificationError
from fastbert.runtime.manifest import MANIFEST, Manifest, Variant, check_files, file_record, read_manifest

__all__ = ["BATCHES", "SEQUENCES", "BuildOptions", "BuildReport", "build", "parse_sizes"]

BATCHES, SEQUENCES = (1, 8, 32), (32, 64, 128)
_TIMING_CACHE, _STATE, _LOCK = "timing.cache", "state.json", ".build.lock"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildOptions:
    """What to build.

    :param variant: the ONNX variant to build from; it has the precision.
    :param batches: largest batch of each bucket.
    :param sequences: tokens of each bucket; None: `SEQUENCES` up to the bundle's ``max_length``, and that.
    :param level: TensorRT's builder optimization level, 0 to 5: how many ways to compute a layer are timed.
    :param bounds: how far answers may be from PyTorch's.
    :param overwrite: replace engines that are built already.
    """

    variant: str = "fp16"
    batches: tuple[int, ...] = BATCHES
    sequences: tuple[int, ...] | None = None
    level: int = 3
    bounds: Bounds = DEFAULT_BOUNDS
    overwrite: bool = False


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    :param built_s: engine -> seconds that its build took.
    :param kept: engines that an earlier, stopped build had made.
    :param low_precision: engine -> share of its layers in float16 or int8.
    :param notes: what the user should know of the verification.
    """

    variant: str
    bytes: int
    built_s: dict[str, float]
    kept: tuple[str, ...]
    low_precision: dict[str, float]
    verification: Verification
    notes: tuple[str, ...]


def parse_sizes(option: str, text: str) -> tuple[int, ...]:
    """Read a comma-separated list of numbers.

    :raises UsageError: an element is no number.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text} is no comma-separated list of numbers, such as 1,8,32.") from error


def build(bundle: Path, options: BuildOptions = BuildOptions()) -> BuildReport:
    """Build, inspect and verify engines for the GPU at hand, then declare them as a variant of the bundle.

    Builds of one bundle take turns, in any number of processes: TensorRT times its choices on the GPU.

    :raises EngineError: no GPU, no TensorRT 11; or engines that failed, while the others are kept.
    :raises VerificationError: the engines give other answers than PyTorch.
    :raises UsageError, BundleError, OutputExistsError: see their docs.
    """
    manifest = read_manifest(bundle)
    source = _source(manifest, options.variant)
    buckets = _buckets(manifest, options)
    check_files(bundle, manifest, source.files, contents=True)
    trt, gpu = tensorrt.require_tensorrt(), open_gpu("tensorrt")
    name = f"tensorrt-{source.name}-{gpu.sm}"
    settings = {
        "source": source.name,
        "version": trt.__version__,
        "gpu": gpu.name,
        "sm": gpu.sm,
        "cuda_driver": gpu.call("cudaDriverGetVersion"),
        "profiles": buckets.as_records(),
        "flags": [],  # none: precision is in the graphs
        "optimization_level": options.level,
    }
    with _turn(bundle):
        manifest = read_manifest(bundle)  # another build may have ended meanwhile
        if name in {variant.name for variant in manifest.variants} and not options.overwrite:
            raise OutputExistsError(f"{bundle} has {name} already; pass --overwrite to build it again.")
        work = _Work(bundle / f".{name}.partial", settings)
        builder = EngineBuilder(
            trt,
            gpu,
            buckets,
            hidden_size=manifest.hidden_size,
            level=options.level,
            timing_cache=work.folder / _TIMING_CACHE,
        )
        built, kept = _build_engines(bundle, source, manifest, builder, work)
        shares = {graph: record["low_precision"] for graph, record in work.engines.items()}
        record = _record(work.folder.name, source, {**settings, "low_precision": shares})
        candidate = Variant.from_record(name, record)
        verification, notes = _verify(bundle, manifest, candidate, buckets, options.bounds)
        size = _declare(bundle, name, work, _record(name, source, record["tensorrt"]), verification)
    return BuildReport(name, size, built, kept, shares, verification, notes)


def _source(manifest: Manifest, name: str) -> Variant:
    held = {
        variant.name: variant for variant in manifest.variants if variant.compaction and variant.engine != "tensorrt"
    }
    if name not in held:
        raise UsageError(
            f"The bundle has no variant {name!r} to build from; it has {', '.join(held) or 'none for a GPU'}. "
            "Export one: fastbert export MODEL --output BUNDLE --precision fp32,fp16"
        )
    return held[name]


def _buckets(manifest: Manifest, options: BuildOptions) -> Buckets:
    limit = manifest.max_length
    sequences = options.sequences
    if sequences is None:
        sequences = (*(length for length in SEQUENCES if length < limit), limit)
    if max(sequences) > manifest.max_positions:
        raise UsageError(f"--sequence {max(sequences)}: the model has {manifest.max_positions} positions.")
    return Buckets.from_sizes(options.batches, sequences)


class _Work:
    """The hidden folder of a build, and what is done in it."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self._settings = settings
        state = folder / _STATE
        found = json.loads(state.read_bytes()) if state.is_file() else {}
        if found.get("settings") != settings:  # left by a build of other profiles, or on another GPU
            shutil.rmtree(folder, ignore_errors=True)
            found = {"engines": {}}
        folder.mkdir(exist_ok=True)
        for half_written in folder.glob(".*.partial-*"):  # by a killed build: the bundle is ours alone now
            half_written.unlink()
        self.engines: dict[str, dict[str, Any]] = found["engines"]

    def has(self, graph: str, onnx_sha256: str) -> bool:
        """Whether an engine of this graph is there, whole."""
        record, path = self.engines.get(graph), self.folder / f"{graph}.engine"
        return (
            record is not None
            and record["onnx_sha256"] == onnx_sha256
            and path.is_file()
            and file_record(path) == record["file"]
        )

    def add(self, graph: str, plan: bytes, onnx_sha256: str, share: float) -> None:
        """Keep an engine."""
        path = self.folder / f"{graph}.engine"
        replace_file(path, plan)
        self.engines[graph] = {"onnx_sha256": onnx_sha256, "low_precision": share, "file": file_record(path)}
        state = {"settings": self._settings, "engines": self.engines}
        replace_file(self.folder / _STATE, json.dumps(state, indent=2).encode())


def _build_engines(
    bundle: Path, source: Variant, manifest: Manifest, builder: EngineBuilder, work: _Work
) -> tuple[dict[str, float], tuple[str, ...]]:
    built, kept, failed = {}, [], {}
    for number, file in enumerate(source.files, start=1):
        graph, place = Path(file).stem, f"{number}/{len(source.files)} {Path(file).stem}"
        digest = manifest.files[file]["sha256"]
        if work.has(graph, digest):
            kept.append(graph)
            _log.info("%s: kept from an earlier build", place)
            continue
        began = time.perf_counter()
        try:
            plan = builder.build(graph, (bundle / file).read_bytes())
            share = builder.low_precision_share(graph, plan)
        except EngineError as error:
            failed[graph] = error
            _log.info("%s: FAILED", place)
            continue
        work.add(graph, plan, digest, share)
        built[graph] = time.perf_counter() - began
        _log.info("%s: %.1f s, %.1f MB, %.0f %% low precision", place, built[graph], len(plan) / 1e6, 100 * share)
    if failed:
        reasons = " ".join(f"{graph}: {error}" for graph, error in failed.items())
        raise EngineError(
            f"{len(failed)} of {len(source.files)} engines failed. {reasons} The others are kept: the same command "
            "builds only what is missing."
        )
    return built, tuple(kept)


def _record(folder: str, source: Variant, details: dict[str, Any]) -> dict[str, Any]:
    def engine(file: str | None) -> str:
        return f"{folder}/{Path(str(file)).stem}.engine"

    return {
        "precision": source.precision,
        "exact": False,
        "devices": ["tensorrt"],
        "engine": "tensorrt",
        "embeddings": engine(source.embeddings),
        "stages": [engine(file) for file in source.stages],
        "compaction": engine(source.compaction),
        "tensorrt": details,
    }


def _verify(
    bundle: Path, manifest: Manifest, variant: Variant, buckets: Buckets, bounds: Bounds
) -> tuple[Verification, tuple[str, ...]]:
    golden = read_golden(bundle / GOLDEN)
    fitting = golden.attention_mask.sum(axis=1) <= buckets.max_sequence
    if not fitting.any():
        raise UsageError(
            f"None of the bundle's {len(fitting)} golden rows fits the profiles ({buckets}), so nothing can be "
            "verified. Add a longer --sequence."
        )
    left_out = int((~fitting).sum())
    notes = (
        (f"{left_out} of {len(fitting)} golden rows are longer than every profile: not verified",) if left_out else ()
    )
    rows = golden.select(fitting)
    classifier = Classifier._from_engine(bundle, manifest, tensorrt.load(bundle, variant))
    verification = verify_classifier(classifier, variant, rows, bounds=bounds)
    if verification.problems:
        raise VerificationError(
            f"The engines do not answer as PyTorch does: {'; '.join(verification.problems)}. The bundle is as it was."
        )
    return verification, notes


def _declare(bundle: Path, name: str, work: _Work, record: dict[str, Any], verification: Verification) -> int:
    """Move the engines into place and declare them; return their bytes."""
    document = json.loads((bundle / MANIFEST).read_bytes())
    _forget(document, name)
    if (bundle / name).exists():
        replace_file(bundle / MANIFEST, _json(document))  # a bundle never names engines that are being replaced
        shutil.rmtree(bundle / name)
    shutil.move(work.folder, bundle / name)  # a folder of an image's layer cannot be renamed
    (bundle / name / _STATE).unlink()
    files = [record["embeddings"], record["compaction"], *record["stages"]]
    document["variants"][name] = record
    document["files"] |= {file: file_record(bundle / file) for file in files}
    document["verification"][name] = verification.as_dict()
    replace_file(bundle / MANIFEST, _json(document))
    return sum(document["files"][file]["bytes"] for file in files)


def _forget(document: dict[str, Any], name: str) -> None:
    document["variants"].pop(name, None)
    document["verification"].pop(name, None)
    document["files"] = {file: record for file, record in document["files"].items() if not file.startswith(f"{name}/")}


@contextmanager
def _turn(bundle: Path) -> Iterator[None]:
    with (bundle / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("another fastbert build works on %s; waiting for it", bundle)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
