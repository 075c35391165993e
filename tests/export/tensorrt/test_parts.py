"""What is built: with the engine of a single row where it is asked for, or where the library is known to build it."""

from dataclasses import replace

import pytest

from fastbert.export import BuildOptions, build
from fastbert.export.joined import single_row_engine
from fastbert.export.tensorrt.parts import parts_of
from fastbert.runtime import UsageError
from fastbert.runtime.engines.gpu.tensorrt.libraries import TENSORRT, TENSORRT_RTX
from fastbert.runtime.manifest import read_manifest

SMALL = BuildOptions(batches=(4,), sequences=(48,))


def graphs(bundle, library, single_row):
    manifest = read_manifest(bundle)
    [source] = [variant for variant in manifest.variants if variant.name == "fp16"]
    return [part.graph for part in parts_of(bundle, manifest, source, library, single_row)]


@pytest.mark.parametrize(
    ("library", "single_row", "built"),
    [
        (TENSORRT_RTX, None, True),
        (TENSORRT, None, False),
        (TENSORRT_RTX, False, False),
        (TENSORRT, True, True),
    ],
)
def test_which_libraries_build_a_single_row(gpu_bundle, library, single_row, built):
    others = ["embeddings", "stage_00", "stage_01", "stage_02", "compaction"]
    assert graphs(gpu_bundle, library, single_row) == [*others, *(["row"] if built else [])]


def test_too_many_stages_are_left_out_or_refused(gpu_bundle, monkeypatch):
    monkeypatch.setattr(single_row_engine, "MAX_STAGES", 2)
    assert "row" not in graphs(gpu_bundle, TENSORRT_RTX, None)
    with pytest.raises(UsageError, match="has 3 stages; one engine for a single row holds at most 2"):
        graphs(gpu_bundle, TENSORRT_RTX, True)


def test_the_command_line_chooses(tensorrt, bundle_copy, run_cli):
    code, _, _ = run_cli("build", bundle_copy, "--batch", "4", "--sequence", "48", "--single-row")
    assert code == 0
    variant = read_manifest(bundle_copy).variant_for("tensorrt")
    assert variant.row == f"{variant.name}/row.engine"
    assert (bundle_copy / variant.row).is_file()
    code, _, _ = run_cli("build", bundle_copy, "--batch", "4", "--sequence", "48", "--no-single-row", "--overwrite")
    assert code == 0
    assert read_manifest(bundle_copy).variant_for("tensorrt").row is None
    assert not (bundle_copy / f"{variant.name}/row.engine").exists()


def test_its_weights_decide_whether_it_is_built_again(tensorrt, bundle_copy):
    report = build(bundle_copy, replace(SMALL, single_row=True))
    assert "row" in report.built_s
    manifest = read_manifest(bundle_copy)
    [source] = [variant for variant in manifest.variants if variant.name == "fp16"]
    before = parts_of(bundle_copy, manifest, source, TENSORRT, True)[-1].sha256
    manifest.files[source.stages[1]]["sha256"] = "0" * 64
    assert parts_of(bundle_copy, manifest, source, TENSORRT, True)[-1].sha256 != before
