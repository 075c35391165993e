"""What each field of ``manifest.json`` must be: the tables that `fastbert.runtime.manifest` reads it by."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastbert.runtime.documents import (
    Fits,
    ListOf,
    MappingOf,
    OptionalField,
    Record,
    Rule,
    flag,
    integer,
    number,
    one_of,
)
from fastbert.runtime.operating_points import POINT_NAME

if TYPE_CHECKING:
    from fastbert.runtime.manifest import Manifest, Variant

# Parts joined by /. None is empty, "." or "..", and none is special on Windows: a drive, a backslash.
_PATH = re.compile(r"(?![A-Za-z]:)(?:(?!\.{1,2}(?:/|\Z))[^/\\\0]+(?:/(?!\Z)|\Z))+")
_NAME = re.compile(r"(?!\.{1,2}\Z)[^/\\\0]+")
_SHA256 = re.compile("[0-9a-fA-F]{64}")
_COMPUTE_CAPABILITY = re.compile(r">?[0-9]{1,3}\.[0-9]")

# Engine and device -> the field of a variant's `tensorrt` that says which GPUs its plans are for. Plans of the two
# cannot be exchanged.
GPUS_OF_PLANS = {"tensorrt": "sm", "tensorrt-rtx": "compute_capabilities"}
# device -> the engine whose files it runs; plans have the name of their device
ENGINE_ON = {"cpu": "onnxruntime", "cuda": "onnxruntime_cuda", **{device: device for device in GPUS_OF_PLANS}}


def _matches(expected: str, pattern: re.Pattern[str]) -> Rule:
    return Fits(expected, lambda value: type(value) is str and pattern.fullmatch(value) is not None)


_text = Fits("a string that is not empty", lambda value: type(value) is str and value != "")
_path = _matches("the path of a file inside the bundle, its parts joined by /, such as fp32/stage_00.onnx", _PATH)
_name = _matches("a name without slashes, such as fp32", _NAME)
_sha256 = _matches("64 hexadecimal digits", _SHA256)
_count, _index = integer(1, 2**31 - 1), integer(0, 2**31 - 1)
_coefficients = ListOf("a list of three numbers [c0, c1, c2], none below 0", number(0, 1e18), least=3, most=3)
_file = OptionalField(_path, None, null=True)

_compute_capability = _matches(
    'a compute capability, such as "8.9", or ">12.0" for all later ones', _COMPUTE_CAPABILITY
)
_TENSORRT = Record(
    "an object with source, version and profiles, which fastbert build writes",
    {
        "source": _name,
        "version": _text,
        "sm": OptionalField(_text, None),
        "compute_capabilities": OptionalField(
            ListOf("a list of at least one compute capability", _compute_capability, least=1), ()
        ),
        "optimization_level": OptionalField(integer(0, 5), 3),
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
VARIANT = Record(
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
_OPERATING_POINT = Record(
    "an object with speed, variant and variant_sha256, which fastbert tune writes",
    {"speed": number(0, 1), "variant": _name, "variant_sha256": _sha256},
)
MANIFEST_FIELDS = Record(
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
        "uncertainty": OptionalField(_text, "entropy"),
        "default_speed": number(0, 1),
        "operating_points": OptionalField(
            MappingOf(
                "an object of operating points, keyed by name",
                _matches("a letter, then at most 63 letters, digits, _ or -", POINT_NAME),
                _OPERATING_POINT,
            ),
            {},
        ),
        "flops": Record(
            "an object with layer and exits",
            {"layer": _coefficients, "exits": ListOf("a list of coefficients, one entry per layer", _coefficients)},
        ),
        "variants": MappingOf("an object of at least one variant, keyed by name", _name, VARIANT, least=1),
        "files": MappingOf(
            "an object of every file's bytes and sha256, keyed by path",
            _path,
            Record(
                "an object with bytes and sha256",
                {"bytes": integer(0, 2**63 - 1), "sha256": _sha256},
            ),
        ),
    },
)

# What fields must be relative to each other: the field to name, the check, and what was expected.
BETWEEN_FIELDS: tuple[tuple[str, Callable[["Manifest"], bool], str], ...] = (
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
BETWEEN_FIELDS_OF_VARIANT: tuple[tuple[str, Callable[["Manifest", "Variant"], bool], str], ...] = (
    ("stages", lambda m, v: len(v.stages) == len(m.exits), "one stage for each of the exits {exits}"),
    ("stages", lambda _, v: len(set(v.files)) == len(v.files), "files that the variant names only once"),
    (
        "engine",
        lambda _, v: v.plans_of <= {v.engine},
        "the same as in devices: plans of TensorRT and of TensorRT for RTX cannot be exchanged",
    ),
    (
        "tensorrt",
        lambda _, v: not v.plans_of or v.names_gpus(),
        "the object that fastbert build writes for a TensorRT variant, with sm or, for tensorrt-rtx, "
        "compute_capabilities",
    ),
    (
        "compaction",
        lambda _, v: not v.plans_of or v.compaction is not None,
        "the path of a file, which a TensorRT variant needs",
    ),
)
