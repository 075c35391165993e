"""Builds for TensorRT for RTX that fail half way: what they say, and what is kept."""

import errno
import json
import os
from dataclasses import replace

import pytest
from support.doubles.real_tensorrt import real_tensorrt_rtx

from fastbert.export import BuildOptions, build
from fastbert.export.tensorrt import build as build_module
from fastbert.export.tensorrt import resumable
from fastbert.files.atomic import replace_file
from fastbert.runtime import EngineError, UsageError
from fastbert.runtime.manifest import file_record

NAME = "tensorrt-rtx-fp16"
SMALL = BuildOptions(batches=(4,), sequences=(48,), engine="tensorrt-rtx")


@pytest.fixture(autouse=True)
def _without_a_gpu(no_gpu):
    real_tensorrt_rtx()


@pytest.fixture
def stand_in(tensorrt_rtx, rtx_cuda):
    """A library that builds at once, on a machine without a GPU."""
    rtx_cuda._devices = 0
    return tensorrt_rtx


def test_graphs_that_fail_are_named_with_the_first_reason(bundle_copy):
    """Where the manifest has the sum of a damaged graph."""
    stage = bundle_copy / "fp16" / "stage_01.onnx"
    manifest = bundle_copy / "manifest.json"
    document = json.loads(manifest.read_text())
    content = stage.read_bytes()
    at = content.index(b"layer_01/key_2")
    for damaged in (content[:at] + b"LAYER" + content[at + 5 :], b"", b"not a graph"):
        stage.write_bytes(damaged)
        document["files"]["fp16/stage_01.onnx"] = file_record(stage)
        manifest.write_text(json.dumps(document))
        with pytest.raises(
            EngineError, match=r"^2 of 6 engines failed: stage_01, row\. The first error: .*stage_01"
        ) as found:
            build(bundle_copy, SMALL)
        assert str(found.value).count("stage_01") < 6
    assert json.loads(manifest.read_text()) == document


def test_a_bundle_that_cannot_be_written_is_refused(stand_in, bundle_copy):
    (bundle_copy / ".build.lock").mkdir()
    message = r"cannot be written: Is a directory \(\.build\.lock\)\..* in a copy of it"
    with pytest.raises(UsageError, match=message):
        build(bundle_copy, SMALL)


def test_on_a_full_disk_what_is_complete_is_kept(stand_in, bundle_copy, monkeypatch):
    def full(path, content):
        if path.name == "stage_01.engine":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        replace_file(path, content)

    monkeypatch.setattr(resumable, "replace_file", full)
    with pytest.raises(
        EngineError, match=r"stage_01\.engine \(0\.\d MB\) cannot be written: No space left.*only what is"
    ):
        build(bundle_copy, SMALL)
    monkeypatch.setattr(resumable, "replace_file", replace_file)
    assert build(bundle_copy, SMALL).kept == ("embeddings", "stage_00")


def test_an_engine_that_is_no_longer_wanted_is_not_published(stand_in, bundle_copy, monkeypatch):
    publish = build_module._publish
    monkeypatch.setattr(build_module, "_publish", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(bundle_copy, SMALL)
    monkeypatch.setattr(build_module, "_publish", publish)
    report = build(bundle_copy, replace(SMALL, single_row=False))
    assert report.kept == ("embeddings", "stage_00", "stage_01", "stage_02", "compaction")
    assert not (bundle_copy / NAME / "row.engine").exists()
