import dataclasses

import numpy as np
import pytest
from support.tuning import make_answers

from fastbert.benchmarks.tuning.advice import advice, export_command
from fastbert.benchmarks.tuning.search import choose
from fastbert.benchmarks.tuning.speeds import Rows
from fastbert.benchmarks.tuning.targets import TARGETS, Target
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


def better_by(rows, count):
    """Return rows whose other measure exits as deep, and is right on so many more rows than the bundle's own."""
    exits = rows.exits
    first = np.arange(len(rows)) < count
    answers = np.repeat(rows.full[:, None], exits.answers.shape[1], axis=1).astype(np.int32)
    answers[first, 0] += 1  # at the first exit these are wrong
    early = np.full_like(exits.uncertainty, 0.5)
    early[:, 0] = np.where(np.arange(len(rows)) < len(rows) // 2, 0.01, 0.9)
    late = early.copy()
    late[:, 0] = 0.91 - early[:, 0]
    return Rows(dataclasses.replace(exits, answers=answers, uncertainty=early, other=late), None, rows.exit_layers)


@pytest.mark.parametrize(("count", "notable"), [(2, False), (20, True)])
def test_a_difference_that_may_be_chance_is_no_reason_for_the_other_measure(manifest, bundle, count, notable):
    rows = better_by(make_answers(300), count)  # 2 of 300 rows are more than half a point
    target = Target(TARGETS["speedup"], 1.3)
    assert (advice(bundle, manifest, rows, rows, target, choose(rows, target)) is not None) is notable
