import dataclasses

import pytest

from fastbert.export.commands import export_command
from fastbert.runtime.manifest import Bucket, TensorRtBuild, Variant, read_manifest


@pytest.fixture(scope="module")
def manifest(bundle):
    return read_manifest(bundle)


def test_the_command_makes_the_same_bundle(manifest, tmp_path):
    path = tmp_path / "my bundle"
    changed = dataclasses.replace(
        manifest,
        variants=(*manifest.variants, dataclasses.replace(manifest.variants[0], name="int8")),
        exits=(1, 2),
        default_speed=0.3,
        raw={"verification": {"fp32": {"bounds": {"tolerance": 0.001, "max_label_flips": 0.05}}, "int8": "?"}},
    )
    assert export_command(path, changed, "margin") == (
        f"fastbert export MODEL --uncertainty margin --precision fp32,int8 --exits 1,2 --default-speed 0.3 "
        f"--tolerance 0.001 --output '{path}-margin'"
    )
    for raw in ({}, {"verification": []}, {"verification": {"fp32": {"bounds": ["?"]}}}):
        plain = dataclasses.replace(manifest, raw=raw)
        assert export_command(path, plain, "entropy").endswith(f"--precision fp32 --output '{path}-entropy'")


@pytest.mark.parametrize(
    ("capabilities", "row", "options"),
    [
        ((), None, "--no-single-row"),
        (("8.9", "12.0"), "row.engine", "--single-row --compute-capability 8.9,12.0"),
        (("8.0", ">12.0"), "row.engine", "--single-row"),  # the default set
    ],
)
def test_engines_for_tensorrt_are_built_again(manifest, tmp_path, capabilities, row, options):
    profiles = tuple(Bucket(1, batch, sequence) for batch in (8, 1) for sequence in (32, 64))
    build = TensorRtBuild("fp16", "11", "sm90", capabilities, 4, profiles)
    trt = Variant(
        "tensorrt-fp16", "float16", False, ("tensorrt",), "tensorrt", "e", ("s",), "c", row=row, tensorrt=build
    )
    changed = dataclasses.replace(manifest, variants=(*manifest.variants, trt))
    assert export_command(tmp_path / "b", changed, "margin").endswith(
        f"--precision fp32 --output {tmp_path}/b-margin && fastbert build {tmp_path}/b-margin --variant fp16 "
        f"--engine tensorrt --batch 1,8 --sequence 32,64 --level 4 {options}"
    )
