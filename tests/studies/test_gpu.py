"""The run of everything that needs a GPU: what runs where, and what becomes of a part that fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fastbert.runtime.engines.gpu.cuda import open_gpu
from studies import depths
from studies import gpu as study
from studies.gpu import FAILED, LEFT_OUT, PASSED, Part, measure, obstacle, parts_of, run_part


@pytest.mark.parametrize(
    ("part", "ended", "expected"),
    [
        (Part("a", ("x",), 9), (0, "fine"), (PASSED, "")),
        (Part("a", ("x",), 9), (1, "broken"), (FAILED, "broken")),
        (Part("a", ("x",), 9, "refused"), (1, "it is refused"), (PASSED, "")),
        (Part("a", ("x",), 9, "refused"), (1, "broken"), (FAILED, "not refused: broken")),
        (Part("a", ("x",), 9, "refused"), (0, "it is refused"), (FAILED, "not refused: it is refused")),
    ],
)
def test_a_part_passes_if_it_ends_as_it_must(part, ended, expected):
    found = run_part(part, lambda command, limit: ended, 100)
    assert (found.outcome, found.reason) == expected


def test_a_part_has_its_own_limit_and_what_is_left_of_all():
    limits = []

    def run(command, limit):
        limits.append(limit)
        raise subprocess.TimeoutExpired(command, limit)

    assert run_part(Part("a", ("x",), 9), run, 100).reason == "it took more than 9 s"
    assert run_part(Part("a", ("x",), 9), run, 5).reason == "it took more than 5 s"
    assert run_part(Part("a", ("x",), 9), run, 0).reason == "no time is left"
    assert limits == [9, 5]


def test_a_part_that_fails_or_cannot_run_does_not_stop_the_others(gpu_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "obstacle", lambda device: "no such library" if device == "tensorrt" else "")
    outcomes = measure(tmp_path, gpu_bundle, lambda command, limit: (int("build" in command), "broken"), limit_s=100)
    assert {outcome.name: outcome.outcome for outcome in outcomes} == {
        "tests": PASSED,
        "cuda: whole model against the chain": PASSED,
        "cuda: full batches": PASSED,
        "tensorrt": LEFT_OUT,
        "tensorrt-rtx: build": FAILED,
        "tensorrt-rtx: reload": PASSED,
        "tensorrt-rtx: whole model against the chain": PASSED,
        "tensorrt-rtx: a single row in one engine": FAILED,
        "tensorrt-rtx: one call against the chain": PASSED,
    }
    out = capsys.readouterr().out
    assert "left out: tensorrt, 0 s no such library" in out
    assert "failed: tensorrt-rtx: build, 0 s broken" in out


def test_a_gpu_that_rtx_does_not_support_gets_our_refusal(tensorrt_rtx, rtx_cuda, bundle_copy, tmp_path, run_cli):
    assert obstacle("tensorrt-rtx") == ""
    rtx_cuda._sm = (9, 0)
    reason = obstacle("tensorrt-rtx")
    assert "compute capability 9.0" in reason
    [part] = parts_of("tensorrt-rtx", reason, bundle_copy, tmp_path)

    def run(command, limit):
        code, _, err = run_cli(*command[3:])
        return code, err

    assert run_part(part, run, 100).outcome == PASSED
    rtx_cuda._sm = (8, 9)
    assert run_part(part, run, 100).outcome == FAILED  # not refused: the GPU is fine


def test_the_commands_of_the_parts_work(tensorrt_rtx, bundle_copy, tmp_path, run_cli, monkeypatch):
    monkeypatch.setattr(depths, "_SETTLE_S", {})
    rows = []
    for part in parts_of("tensorrt-rtx", "", bundle_copy, tmp_path):
        if part.command[2] == "fastbert.cli":
            code, _, err = run_cli(*part.command[3:])
            assert code == 0, err
        else:
            monkeypatch.setattr(sys, "argv", ["depths", *part.command[3:-4], "--runs", "1", *part.command[-2:]])
            depths.main()
            report = json.loads(Path(part.command[-1]).read_text())
            assert report["variant"] == "tensorrt-rtx-fp16"
            rows.append("single_row_engine" in report["shapes"][0])
    assert rows == [False, True]  # the chain is measured without the engine that no GPU has run yet


def test_a_part_that_took_too_long_shows_how_far_it_came(capsys):
    script = "import time; print('half way', flush=True); time.sleep(60)"
    with pytest.raises(subprocess.TimeoutExpired):
        study._run([sys.executable, "-c", script], 2)
    assert "half way" in capsys.readouterr().out


def test_without_a_gpu_it_says_so(no_gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu", "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="No GPU is available"):
        study.main()


def test_the_survey_names_the_gpu(rtx_cuda):
    found = study.survey()
    assert (found["gpu"], found["compute_capability"]) == ("Fake RTX", "8.9")
    assert open_gpu("gpu").sm == "sm89"
