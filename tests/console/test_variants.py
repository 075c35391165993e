"""The lines of ``fastbert info`` about variants."""

from dataclasses import replace
from pathlib import Path

import pytest

from fastbert.console.variants import variant_lines
from fastbert.runtime.manifest import Bucket, TensorRtBuild, read_manifest

BUILD = TensorRtBuild("fp16", "11.4", "sm90", (), 3, (Bucket(1, 1, 32), Bucket(2, 8, 64)))


def lines(bundle, *, verification=None, **changes):
    manifest = read_manifest(bundle)
    [first, *_] = manifest.variants
    raw = manifest.raw if verification is None else {**manifest.raw, "verification": verification}
    return variant_lines(Path("the bundle"), replace(manifest, variants=(replace(first, **changes),), raw=raw))


def test_a_variant_is_a_line(bundle):
    manifest = read_manifest(bundle)
    size = sum(manifest.files[file]["bytes"] for file in manifest.variants[0].files) / 1e6
    rows = manifest.raw["verification"]["fp32"]["rows"]
    assert lines(bundle) == [f"variant:         fp32: float32 for cpu; {size:.1f} MB; verified on {rows} rows"]


def test_engines_of_tensorrt_say_what_they_are_for(bundle):
    [line] = lines(bundle, tensorrt=BUILD)
    assert "; built from fp16 by version 11.4 for sm90 GPUs; up to 8 rows of 64 tokens; " in line
    [line] = lines(bundle, tensorrt=replace(BUILD, sm=None, compute_capabilities=("8.9", ">12.0")))
    assert "for GPUs of compute capability 8.9, >12.0;" in line


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        ({"passed": True, "rows": 3}, "verified on 3 rows"),
        ({"passed": True, "rows": "3"}, "verified"),
        (
            {"passed": None, "reason": "There is no GPU."},
            "There is no GPU. Verify them on a GPU that runs it: "
            "fastbert verify 'the bundle' --device cpu --variant fp32",
        ),
        ({"passed": False}, "not verified"),
        ({"passed": "yes"}, "not verified"),
        ("passed", "not verified"),
    ],
)
def test_what_the_manifest_says_about_the_verification_may_be_anything(bundle, record, shown):
    assert lines(bundle, verification={"fp32": record})[0].endswith(f"; {shown}")
    assert lines(bundle, verification=[record])[0].endswith("; not verified")


def test_a_variant_without_a_device_is_built_from(bundle):
    assert "fp32: float32 for fastbert build;" in lines(bundle, devices=())[0]
