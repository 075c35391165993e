"""A bundle's ``manifest.json``: what is in the bundle, read and checked.

Schema ``fastbert-bundle/1``. A reader ignores fields that it does not know and refuses another major.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
        """Read what the manifest says of a variant."""
        return cls(
            name,
            record["precision"],
            bool(record.get("exact", True)),
            tuple(record["devices"]),
            record["engine"],
            record["embeddings"],
            tuple(record["stages"]),
            record.get("compaction"),
            record.get("chain"),
            record.get("row"),
            bool(record.get("saturates", True)),
            record,
        )

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
    :param truncation_side: ``"right"``: the start of a longer text is kept; ``"left"``: its end.
    :param default_token_type: token type of every token where a caller gives none.
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


def read_manifest(bundle: Path) -> Manifest:
    """Read ``manifest.json``.

    :raises BundleError: it is missing, damaged, or of another major schema.
    """
    path = bundle / MANIFEST
    if not path.is_file():
        raise BundleError(f"{bundle} is no bundle: there is no {MANIFEST} in it. Make one with: fastbert export")
    try:
        raw = json.loads(path.read_bytes())
        schema = raw["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is damaged ({error}). Export the bundle again.") from error
    if str(schema).split(".")[0] != SCHEMA:
        raise BundleError(
            f"{path} has the schema {schema!r}; this fastbert reads {SCHEMA!r}. "
            "Export the bundle again, or install the fastbert that made it."
        )
    try:
        manifest = Manifest(
            labels=tuple(raw["labels"]),
            max_length=int(raw["max_length"]),
            max_positions=int(raw["max_positions"]),
            vocab_size=int(raw["vocab_size"]),
            type_vocab_size=int(raw["type_vocab_size"]),
            default_token_type=int(raw.get("default_token_type", 0)),
            pad_token_id=int(raw["pad_token_id"]),
            truncation_side=str(raw.get("truncation_side", "right")),
            layers=int(raw["layers"]),
            hidden_size=int(raw["hidden_size"]),
            exits=tuple(int(layer) for layer in raw["exits"]),
            default_speed=float(raw["default_speed"]),
            flops=raw["flops"],
            variants=tuple(Variant.from_record(name, record) for name, record in raw["variants"].items()),
            files=raw["files"],
            raw=raw,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path} is damaged: {type(error).__name__} {error}. Export the bundle again.") from error
    for variant in manifest.variants:
        if not 0 < len(variant.stages) == len(manifest.exits):
            raise BundleError(
                f"{path} is damaged: the variant {variant.name} has {len(variant.stages)} stages for "
                f"{len(manifest.exits)} exits. Export the bundle again."
            )
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
        if not path.is_file():
            raise BundleError(f"{path} is missing from the bundle. Copy the bundle again, whole.")
        size = path.stat().st_size
        if size != record["bytes"]:
            raise BundleError(
                f"{path} has {size} bytes, the manifest says {record['bytes']}. Copy the bundle again, whole."
            )
        if contents and file_record(path)["sha256"] != record["sha256"]:
            raise BundleError(f"{path} was altered: its sha256 is not the manifest's. Copy the bundle again.")

    with ThreadPoolExecutor(max(1, threads)) as pool:  # hashing releases the GIL
        for _ in pool.map(check, list(names)):
            pass
