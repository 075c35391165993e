"""What each field of ``manifest.json`` must be: the tables that `fastbert.runtime.manifest` reads it by."""

import re

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

# Parts joined by /. None is empty, "." or "..", and none is special on Windows: a drive, a backslash.
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
