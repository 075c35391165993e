import json
import subprocess
import sys

import pytest

from studies import targets


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "studies.targets", *arguments], capture_output=True, text=True, check=False
    )


def test_a_target_is_measured_and_printed_as_json():
    done = run("import-runtime", "--json")
    found = json.loads(done.stdout)
    assert [target["name"] for target in found["targets"]] == ["import-runtime"]
    assert found["targets"][0]["holds"] is (found["targets"][0]["figure"] <= 0.5)
    assert found["environment"]["cores_usable"] >= 1
    assert done.returncode == (0 if found["targets"][0]["holds"] else 1)


def test_an_unknown_target_lists_the_known():
    done = run("fly")
    assert done.returncode == 2
    assert "fp32-12x768-64-tokens-1-thread" in " ".join(done.stderr.split())


def test_a_target_over_its_bar_does_not_hold():
    over = targets.Target("x", 1.0, "ratio", lambda: 1.01)
    assert targets.measure(over).holds is False
    under = targets.Target("x", 1.0, "ratio", lambda: 0.99, at_least=True)
    assert targets.measure(under).holds is False


def test_chain_and_memory_are_measured_on_real_bundles(tmp_path):
    directory = str(tmp_path)
    assert targets.make_bundle(2, 48, directory, ("fp32", targets.int8_here())) > 0
    for precision in ("fp32", "int8"):
        assert 0.1 < targets.chain_overhead(directory, 8, 1, 3, precision) < 100
    for system in ("chain", "whole"):
        assert targets.resident_bytes(directory, system) > 10e6
        assert 0 < targets.load_seconds(directory, system) < 60


def test_a_failed_child_is_no_figure():
    with pytest.raises(RuntimeError, match="chain_overhead failed"):
        targets.in_child("chain_overhead", "/nowhere", 8, 1, 1)
