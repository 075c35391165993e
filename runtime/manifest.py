"""A bundle's ``manifest.json``: what is in the bundle, read and checked.

Schema ``fastbert-bundle/1``. A reader ignores unknown fields and refuses another major version. A field that bundles of
earlier versions lack is optional, with the value that it had implicitly.
"""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from fastbert.runtime.documents import MISSING, Unfit, parse_object, shown
from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.manifest_rules import (
    BETWEEN_FIELDS,
    BETWEEN_FIELDS_OF_VARIANT,
    ENGINE_ON,
    GPUS_OF_PLANS,
    MANIFEST_FIELDS,
    VARIANT,
)
from fastbert.runtime.operating_points import OperatingPoint

MANIFEST = "manifest.json"
SCHEMA = "fastbert-bundle/1"
_CHUNK_BYTES = 1 << 20


class FileRecord(TypedDict):
    """What the manifest records of a file: its size and its sha256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Bucket:
    """The shapes of one TensorRT profile: ``min_batch`` to ``max_batch`` rows of up to ``sequence`` tokens.

    Engines are tuned for the largest.
    """

    min_batch: int
    max_batch: int
    sequence: int


@dataclass(frozen=True)
class TensorRtBuild:
    """How a variant's TensorRT engines were built.

    :param source: name of the variant whose graphs they were built from.
    :param version: of TensorRT, or of TensorRT for RTX.
    :param sm: GPU architecture, such as ``"sm90"``; None: TensorRT for RTX built them.
    :param compute_capabilities: of the GPUs that run engines of TensorRT for RTX, such as ``"8.9"``; ``">12.0"``: all
        later ones.
    :param optimization_level: of TensorRT's builder, 0 to 5.
    :param profiles: the engines' optimization profiles, in order.
    """

    source: str
    version: str
    sm: str | None
    compute_capabilities: tuple[str, ...]
    optimization_level: int
    profiles: tuple[Bucket, ...]


@dataclass(frozen=True)
class Variant:
    """One set of engines of one precision.

    :param precision: of weights, such as ``"float32"``.
    :param exact: whether its answers are PyTorch's in float32; otherwise it is lossy.
    :param devices: the devices that run it, such as ``("cpu",)``.
    :param engine: kind of its files: ``onnxruntime``, ``onnxruntime_cuda``, ``tensorrt`` or ``tensorrt-rtx``.
    :param embeddings: path of the embeddings engine inside the bundle.
    :param stages: paths of the stage engines, in order.
    :param compaction: path of the engine that removes samples on the device; None: they are removed on the host.
    :param chain: path of the model of all stages, which runs the stage asked for (`stage_digits` of the module
        ``tensors``) and reads its weights from the stages' files; None: the bundle has none.
    :param row: path of the model that runs a single row until an exit answers, and reads its weights from the other
        files; None: the bundle has none.
    :param saturates: whether its int8 products may overflow on an x86 processor without VNNI.
    :param tensorrt: how its engines were built; None: they are not TensorRT's.
    """

    name: str
    precision: str
    exact: bool
    devices: tuple[str, ...]
    engine: str
    embeddings: str
    stages: tuple[str, ...]
    compaction: str | None = None
    chain: str | None = None
    row: str | None = None
    saturates: bool = True
    tensorrt: TensorRtBuild | None = None

    @classmethod
    def from_record(cls, name: str, record: Mapping[str, Any]) -> "Variant":
        """Read a variant's object in the manifest.

        :raises fastbert.runtime.documents.Unfit: a field does not follow its rule.
        """
        return cls._from_fields(name, VARIANT.read(record))

    @classmethod
    def _from_fields(cls, name: str, fields: Mapping[str, Any]) -> "Variant":
        build = fields["tensorrt"]
        if build is not None:
            buckets = ((*profile["batch"], profile["sequence"]) for profile in build["profiles"])
            made = {"profiles": tuple(Bucket(*bucket) for bucket in buckets)}
            build = TensorRtBuild(**{**build, **made, "compute_capabilities": tuple(build["compute_capabilities"])})
        return cls(name, **{**fields, "tensorrt": build})

    def runs_on(self, device: str) -> bool:
        """Return whether this version of fastbert runs it on a device; not if its kind of engine is unknown."""
        return device in self.devices and self.engine == ENGINE_ON.get(device)

    @property
    def checkable_on_cpu(self) -> bool:
        """Whether its files are ONNX models, which ONNX Runtime can check on a CPU, whatever device they are for."""
        return self.engine in ("onnxruntime", "onnxruntime_cuda")

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all its files inside the bundle."""
        joined = (self.compaction, self.chain, self.row)
        return (self.embeddings, *self.stages, *(file for file in joined if file))

    @property
    def tensorrt_build(self) -> TensorRtBuild:
        """How its TensorRT engines were built.

        :raises UsageError: it has no TensorRT engines.
        """
        if self.tensorrt is None:
            raise UsageError(
                f"The variant {self.name!r} has no TensorRT engines. Build them with: fastbert build BUNDLE"
            )
        return self.tensorrt

    @property
    def plans_of(self) -> set[str]:
        """Which of `GPUS_OF_PLANS` it claims to be for."""
        return GPUS_OF_PLANS.keys() & {self.engine, *self.devices}

    def names_gpus(self) -> bool:
        """Return whether its record says which GPUs its plans are for."""
        build = self.tensorrt
        return build is not None and all(getattr(build, GPUS_OF_PLANS[engine]) for engine in self.plans_of)


@dataclass(frozen=True)
class Manifest:
    """What a bundle is.

    :param labels: class names by index.
    :param max_length: longest sequence of a text in tokens, special tokens included; longer texts are cut.
    :param max_positions: longest sequence that the engines have positions for.
    :param default_token_type: token type of every token where the caller gives none.
    :param truncation_side: ``"right"``: the start of a longer text is kept; ``"left"``: its end.
    :param exits: 0-based layer of each stage's exit; the last one is the model's last layer.
    :param uncertainty: what the exits measure, such as ``"entropy"`` or ``"margin"``; the engines compute it.
    :param default_speed: in [0, 1], used where the caller gives none.
    :param operating_points: name -> a speed that ``fastbert tune`` found.
    :param flops: see `fastbert.flops`.
    :param files: path inside the bundle -> what is recorded of the file.
    :param raw: the whole document.
    """

    labels: tuple[str, ...]
    max_length: int
    max_positions: int
    vocab_size: int
    type_vocab_size: int
    default_token_type: int
    pad_token_id: int
    truncation_side: str
    layers: int
    hidden_size: int
    exits: tuple[int, ...]
    uncertainty: str
    default_speed: float
    operating_points: Mapping[str, OperatingPoint]
    flops: Mapping[str, Any]
    variants: tuple[Variant, ...]
    files: Mapping[str, FileRecord]
    raw: Mapping[str, Any]

    def variant_for(self, device: str, name: str | None = None) -> Variant:
        """Return the variant of this name, or the first one for ``device``.

        :raises UsageError: there is none.
        """
        fitting = [variant for variant in self.variants if variant.runs_on(device) and name in (None, variant.name)]
        if not fitting:
            named, held = f" {name!r}" if name else "", "; ".join(map(_described, self.variants))
            raise UsageError(f"The bundle has no variant{named} for device {device!r}. It has: {held}.")
        return fitting[0]


def _described(variant: Variant) -> str:
    """Say what a variant is for, and what of it needs another version of fastbert."""
    text = f"{variant.name} for {', '.join(variant.devices) or 'fastbert build'}"
    unknown = [device for device in variant.devices if not variant.runs_on(device)]
    if unknown:
        text += f" (this fastbert cannot run the engine {variant.engine!r} on {unknown[0]!r}; a newer one may: "
        text += "pip install --upgrade fastbert-deploy)"
    return text


def read_manifest(bundle: Path) -> Manifest:
    """Read ``manifest.json`` and check every field that the runtime uses.

    :raises BundleError: it is missing, damaged or of another major version; the message names the field.
    """
    path = bundle / MANIFEST
    content = _read_file(path)
    try:
        raw = parse_object(content)
        schema = raw.get("schema", MISSING)
        if schema is MISSING:
            raise Unfit(MISSING, shown(SCHEMA), "schema")
        if str(schema).split(".")[0] != SCHEMA:
            raise BundleError(
                f"{path} has the schema {shown(schema)}; this fastbert reads {shown(SCHEMA)}. "
                "Export the bundle again, or install the version of fastbert that wrote it."
            )
        return _read_document(raw)
    except (Unfit, ValueError) as error:
        raise BundleError(
            f"{path} is damaged: {error}. Export the bundle again, or correct the file if you wrote it yourself."
        ) from error


def _read_file(path: Path) -> bytes:
    try:
        if path.is_file():
            return path.read_bytes()
        exists = path.exists()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{path} cannot be read: {reason}. Name a bundle that this user can read.") from error
    what = "is not a file" if exists else "is missing"
    raise BundleError(
        f"{path.parent} is not a bundle: {path} {what}. Create one with: fastbert export MODEL --output {path.parent}"
    )


def _read_document(raw: Mapping[str, Any]) -> Manifest:
    fields = MANIFEST_FIELDS.read(raw)
    variants = tuple(Variant._from_fields(name, read) for name, read in fields.pop("variants").items())
    points = {
        name: OperatingPoint(
            name, point["speed"], point["variant"], point["variant_sha256"].lower(), raw["operating_points"][name]
        )
        for name, point in fields.pop("operating_points").items()
    }
    manifest = Manifest(**fields, variants=variants, operating_points=points, raw=raw)
    for name, holds, expected in BETWEEN_FIELDS:
        if not holds(manifest):
            raise Unfit(raw.get(name, MISSING), expected.format(m=manifest), name)
    if len(manifest.flops["exits"]) != manifest.layers:
        raise Unfit(raw["flops"]["exits"], f"one entry for each of the {manifest.layers} layers", "flops", "exits")
    for variant in manifest.variants:
        for name, fits, expected in BETWEEN_FIELDS_OF_VARIANT:
            if not fits(manifest, variant):
                found = raw["variants"][variant.name].get(name, MISSING)
                raise Unfit(found, expected.format(exits=[*manifest.exits]), "variants", variant.name, name)
        for file in variant.files:
            if file not in manifest.files:
                raise Unfit(MISSING, f"bytes and sha256 of a file of the variant {variant.name}", "files", file)
    return manifest


def file_record(path: Path) -> FileRecord:
    """Return what the manifest records of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def file_versions(bundle: Path, names: Iterable[str]) -> dict[str, tuple[int, ...] | None]:
    """Return values that change when a file is replaced or written to; None where a file is missing."""
    versions: dict[str, tuple[int, ...] | None] = {}
    for name in names:
        try:
            status = (bundle / name).stat()
            versions[name] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            versions[name] = None
    return versions


def check_files(bundle: Path, manifest: Manifest, names: Iterable[str], *, contents: bool, threads: int = 1) -> None:
    """Check that files exist and have the recorded size, and with ``contents`` the recorded sha256.

    :raises BundleError: a file does not; the message names it.
    """

    def check(name: str) -> None:
        path, record = bundle / name, manifest.files.get(name)
        if record is None:
            raise BundleError(f"{bundle / MANIFEST} has no record of {name}. Export the bundle again.")
        try:
            if not path.is_file():
                raise BundleError(f"{path} is missing. Copy the whole bundle again.")
            size = path.stat().st_size
            if size != record["bytes"]:
                raise BundleError(
                    f"{path} has {size} bytes; the manifest says {record['bytes']}. Copy the whole bundle again."
                )
            if contents and file_record(path)["sha256"] != record["sha256"].lower():
                raise BundleError(
                    f"{path} was altered: its sha256 differs from the manifest's. Copy the whole bundle again."
                )
        except OSError as error:
            raise BundleError(
                f"{path} cannot be read: {error.strerror}. Name a bundle that this user can read."
            ) from error

    with ThreadPoolExecutor(max(1, threads)) as pool:  # hashing releases the GIL
        for _ in pool.map(check, list(names)):
            pass
