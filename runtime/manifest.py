"""A bundle's ``manifest.json``: what is in the bundle, read and checked.

Schema ``fastbert-bundle/1``. A reader ignores fields that it does not know and refuses another major. A field that
bundles of earlier versions lack is optional, with the value that was meant then.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastbert.runtime.documents import (
    MISSING,
    Fits,
    ListOf,
    MappingOf,
    OptionalField,
    Record,
    Rule,
    Unfit,
    flag,
    integer,
    number,
    one_of,
    parse_object,
    shown,
)
from fastbert.runtime.errors import BundleError, UsageError

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "Manifest",
    "Variant",
    "check_files",
    "file_record",
    "file_versions",
    "read_manifest",
    "stage_digits",
]

MANIFEST = "manifest.json"
SCHEMA = "fastbert-bundle/1"
_CHUNK_BYTES = 1 << 20

# Parts with / between them; none is empty, "." or "..", and none is something else on Windows: a drive, a backslash.
_PATH = re.compile(r"(?![A-Za-z]:)(?:(?!\.{1,2}(?:/|\Z))[^/\\\0]+(?:/(?!\Z)|\Z))+")
_NAME = re.compile(r"(?!\.{1,2}\Z)[^/\\\0]+")
_SHA256 = re.compile("[0-9a-fA-F]{64}")


def _matches(expected: str, pattern: re.Pattern[str]) -> Rule:
    return Fits(expected, lambda value: type(value) is str and pattern.fullmatch(value) is not None)


_text = Fits("a string that is not empty", lambda value: type(value) is str and value != "")
_path = _matches("the path of a file inside the bundle, its parts joined by /, such as fp32/stage_00.onnx", _PATH)
_name = _matches("a name without slashes, such as fp32", _NAME)
_sha256 = _matches("64 hexadecimal digits", _SHA256)
_count, _index = integer(1, 2**31 - 1), integer(0, 2**31 - 1)
_coefficients = ListOf("a list of three numbers [c0, c1, c2], none below 0", number(0, 1e18), least=3, most=3)
_file = OptionalField(_path, None, null=True)

_TENSORRT = Record(
    "an object with source, version, sm and profiles, which fastbert build writes",
    {
        "source": _name,
        "version": _text,
        "sm": _text,
        "profiles": ListOf(
            "a list of at least one profile",
            Record(
                "an object with batch and sequence",
                {"batch": ListOf("a list [smallest, largest]", _count, least=2, most=2), "sequence": _count},
            ),
            least=1,
        ),
    },
)
_VARIANT = Record(
    "an object with precision, devices, engine, embeddings and stages",
    {
        "precision": _text,
        "exact": OptionalField(flag, True),
        "devices": ListOf("a list of devices, such as cpu", _text),
        "engine": _text,
        "embeddings": _path,
        "stages": ListOf("a list of at least one path", _path, least=1),
        "compaction": _file,
        "chain": _file,
        "row": _file,
        "saturates": OptionalField(flag, True),
        "tensorrt": OptionalField(_TENSORRT, None),
    },
)
_MANIFEST = Record(
    "an object",
    {
        "labels": ListOf("a list of at least one label, all different", _text, least=1, distinct=True),
        "max_length": _count,
        "max_positions": _count,
        "vocab_size": _count,
        "type_vocab_size": _count,
        "default_token_type": OptionalField(_index, 0),
        "pad_token_id": _index,
        "truncation_side": OptionalField(one_of("left", "right"), "right"),
        "layers": _count,
        "hidden_size": _count,
        "exits": ListOf("a list of at least one layer", _index, least=1),
        "default_speed": number(0, 1),
        "flops": Record(
            "an object with layer and exits",
            {"layer": _coefficients, "exits": ListOf("a list of coefficients, one entry a layer", _coefficients)},
        ),
        "variants": MappingOf("an object of at least one variant, each under its name", _name, _VARIANT, least=1),
        "files": MappingOf(
            "an object that has every file's bytes and sha256 under its path",
            _path,
            Record(
                "an object with bytes and sha256",
                {"bytes": integer(0, 2**63 - 1), "sha256": _sha256},
            ),
        ),
    },
)


@dataclass(frozen=True)
class Variant:
    """One set of engines for one precision.

    :param precision: of weights, such as ``"float32"``.
    :param exact: whether it gives PyTorch's float32 answers; if not, it is lossy.
    :param devices: what it is for, such as ``("cpu",)``.
    :param engine: the file of ``fastbert.runtime.engines`` that runs it.
    :param embeddings: path of the embeddings engine inside the bundle.
    :param stages: paths of the stage engines, in order.
    :param compaction: path of the engine that drops samples on the device; None: they are dropped on the host.
    :param chain: path of the model that runs the stage asked for (`stage_digits`) and reads its weights from the
        stages' files; None: there is none.
    :param row: path of the model that runs one row until an exit answers, and reads its weights from the other
        files; None: there is none.
    :param saturates: whether its int8 products may, on an x86 processor without VNNI.
    :param record: all that the manifest says of it.
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
    record: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_record(cls, name: str, record: Mapping[str, Any]) -> "Variant":
        """Read what the manifest says of a variant.

        :raises fastbert.runtime.documents.Unfit: a field is not what it must be.
        """
        return cls._from_fields(name, _VARIANT.read(record), record)

    @classmethod
    def _from_fields(cls, name: str, fields: Mapping[str, Any], record: Mapping[str, Any]) -> "Variant":
        own = {key: value for key, value in fields.items() if key != "tensorrt"}
        return cls(name, **own, record=record)

    @property
    def checkable_on_cpu(self) -> bool:
        """Whether its files are ONNX models, which ONNX Runtime can check on a CPU, whatever device they are for."""
        return self.engine in ("onnxruntime", "onnxruntime_cuda")

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all its files inside the bundle."""
        joined = (self.compaction, self.chain, self.row)
        return (self.embeddings, *self.stages, *(file for file in joined if file))


@dataclass(frozen=True)
class Manifest:
    """What a bundle is.

    :param labels: class names by index.
    :param max_length: longest sequence of a text, special tokens included; longer texts are cut.
    :param max_positions: longest sequence that the engines can number.
    :param exits: 0-based layer of each stage's exit; the last one is the model's last layer.
    :param default_speed: in [0, 1], used where the caller names none.
    :param default_token_type: token type of every token where a caller gives none.
    :param truncation_side: ``"right"``: the start of a longer text is kept; ``"left"``: its end.
    :param flops: see `fastbert.flops`.
    :param files: path inside the bundle -> ``bytes`` and ``sha256``.
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
    default_speed: float
    flops: Mapping[str, Any]
    variants: tuple[Variant, ...]
    files: Mapping[str, Mapping[str, Any]]
    raw: Mapping[str, Any]

    def variant_for(self, device: str, name: str | None = None) -> Variant:
        """Pick a variant by name, or the first one that is for ``device``.

        :raises UsageError: there is none.
        """
        fitting = [variant for variant in self.variants if device in variant.devices]
        if name is not None:
            fitting = [variant for variant in fitting if variant.name == name]
        if not fitting:
            held = "; ".join(
                f"{variant.name} for {', '.join(variant.devices) or 'fastbert build'}" for variant in self.variants
            )
            wanted = f"variant {name!r} for" if name else "variant for"
            raise UsageError(f"The bundle has no {wanted} device {device!r}. It holds: {held}.")
        return fitting[0]


# What fields must be beside each other: the one to blame, whether it is so, and what was expected.
_IN_MANIFEST: tuple[tuple[str, Callable[[Manifest], bool], str], ...] = (
    ("max_length", lambda m: m.max_length <= m.max_positions, "at most max_positions, which is {m.max_positions}"),
    ("pad_token_id", lambda m: m.pad_token_id < m.vocab_size, "less than vocab_size, which is {m.vocab_size}"),
    (
        "default_token_type",
        lambda m: m.default_token_type < m.type_vocab_size,
        "less than type_vocab_size, which is {m.type_vocab_size}",
    ),
    (
        "exits",
        lambda m: m.exits == tuple(sorted({*m.exits, m.layers - 1})) and m.exits[-1] == m.layers - 1,
        "layers in ascending order, counted from 0, the last one being the last of the {m.layers} layers",
    ),
)
_IN_VARIANT: tuple[tuple[str, Callable[[Manifest, Variant], bool], str], ...] = (
    ("stages", lambda m, v: len(v.stages) == len(m.exits), "one stage for each of the exits {exits}"),
    ("stages", lambda _, v: len(set(v.files)) == len(v.files), "files that stand nowhere else in the variant"),
    (
        "tensorrt",
        lambda _, v: "tensorrt" not in (v.engine, *v.devices) or "tensorrt" in v.record,
        "what fastbert build writes of a variant for TensorRT",
    ),
    (
        "compaction",
        lambda _, v: "tensorrt" not in (v.engine, *v.devices) or v.compaction is not None,
        "the path of a file, which a variant for TensorRT needs",
    ),
)


def read_manifest(bundle: Path) -> Manifest:
    """Read ``manifest.json``, and check every field that the runtime uses.

    :raises BundleError: it is missing, damaged or of another major schema; the message names the field.
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
                "Export the bundle again, or install the fastbert that made it."
            )
        return _read_document(raw)
    except (Unfit, ValueError) as error:
        raise BundleError(
            f"{path} is damaged: {error}. Export the bundle again, or correct it where you wrote it yourself."
        ) from error


def _read_file(path: Path) -> bytes:
    try:
        if path.is_file():
            return path.read_bytes()
        found = path.exists()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{path} cannot be read: {reason}. Name a bundle that this user can read.") from error
    if found:
        raise BundleError(f"{path} is no file, so {path.parent} is no bundle. Make one with: fastbert export")
    raise BundleError(f"{path.parent} is no bundle: there is no {MANIFEST} in it. Make one with: fastbert export")


def _read_document(raw: Mapping[str, Any]) -> Manifest:
    fields = _MANIFEST.read(raw)
    records = raw["variants"]
    variants = [Variant._from_fields(name, read, records[name]) for name, read in fields.pop("variants").items()]
    manifest = Manifest(**fields, variants=tuple(variants), raw=raw)
    for name, holds, expected in _IN_MANIFEST:
        if not holds(manifest):
            raise Unfit(raw.get(name, MISSING), expected.format(m=manifest), name)
    if len(manifest.flops["exits"]) != manifest.layers:
        raise Unfit(raw["flops"]["exits"], f"an entry for each of the {manifest.layers} layers", "flops", "exits")
    for variant in manifest.variants:
        for name, fits, expected in _IN_VARIANT:
            if not fits(manifest, variant):
                found = variant.record.get(name, MISSING)
                raise Unfit(found, expected.format(exits=[*manifest.exits]), "variants", variant.name, name)
        for file in variant.files:
            if file not in manifest.files:
                raise Unfit(MISSING, f"bytes and sha256 of a file of the variant {variant.name}", "files", file)
    return manifest


def stage_digits(stage: int, stages: int) -> dict[str, bool]:
    """Return the inputs that choose a stage in the model of them all: its number's binary digits, the lowest first."""
    return {f"digit_{place}": bool(stage >> place & 1) for place in range((stages - 1).bit_length())}


def file_record(path: Path) -> dict[str, Any]:
    """Return ``{"bytes": size, "sha256": hex digest}`` of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def file_versions(bundle: Path, names: Iterable[str]) -> dict[str, tuple[int, ...] | None]:
    """Return what changes when a file is replaced or written to; None: it is not there."""
    found: dict[str, tuple[int, ...] | None] = {}
    for name in names:
        try:
            status = (bundle / name).stat()
            found[name] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            found[name] = None
    return found


def check_files(bundle: Path, manifest: Manifest, names: Iterable[str], *, contents: bool, threads: int = 1) -> None:
    """Check that files are there and as long, and with ``contents`` the same byte for byte, as the manifest says.

    :raises BundleError: one is not; the message names it.
    """

    def check(name: str) -> None:
        path, record = bundle / name, manifest.files.get(name)
        if record is None:
            raise BundleError(f"{bundle / MANIFEST} has no record of {name}. Export the bundle again.")
        try:
            if not path.is_file():
                raise BundleError(f"{path} is missing from the bundle. Copy the bundle again, whole.")
            size = path.stat().st_size
            if size != record["bytes"]:
                raise BundleError(
                    f"{path} has {size} bytes, the manifest says {record['bytes']}. Copy the bundle again, whole."
                )
            if contents and file_record(path)["sha256"] != record["sha256"].lower():
                raise BundleError(f"{path} was altered: its sha256 is not the manifest's. Copy the bundle again.")
        except OSError as error:
            raise BundleError(
                f"{path} cannot be read: {error.strerror}. Name a bundle that this user can read."
            ) from error

    with ThreadPoolExecutor(max(1, threads)) as pool:  # hashing releases the GIL
        for _ in pool.map(check, list(names)):
            pass
