import json
import subprocess
import sys

import pytest

from studies import targets
from studies.targets import Target, measure, report_targets

SPEEDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def system(family, speed, p50_ms, accuracy=0.9, efficiency=0.95):
    latency = {"mean_ms": p50_ms, "p50_ms": p50_ms}
    return {"family": family, "speed": speed, "latency": latency, "accuracy": accuracy, "efficiency": efficiency}


@pytest.fixture
def report(tmp_path):
    """fp32 takes 2 ms, int8 1 ms, PyTorch 5 ms at every speed; the fastest whole model 3 ms."""
    singles = [system(family, speed, ms) for family, ms in (("fp32", 2), ("int8", 1)) for speed in SPEEDS]
    singles += [system("pytorch-early-exit", speed, 5) for speed in SPEEDS]
    singles += [system("onnxruntime", None, 8), system("openvino-bf16", None, 3)]
    offline = [
        {"family": "fp32", "speed": 0.3, "rows_per_s": 900.0, "mean_layers": 2.0},
        {"family": "onnxruntime", "speed": None, "rows_per_s": 100.0, "mean_layers": 6.0},
    ]
    document = {
        "model": {"layers": 6},
        "single_stream": {"systems": singles},
        "offline": {"systems": offline},
    }

    def write(change=lambda document: None):
        change(document)
        path = tmp_path / "demo" / "report.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
        return {target.name: measure(target) for target in report_targets(path)}

    return write


def test_every_target_is_judged_from_the_report(report):
    found = report()
    assert {name: round(result.figure, 6) for name, result in found.items()} == {
        "demo-efficiency-fp32": 0.95,
        "demo-pytorch-fp32": 2.5,
        "demo-efficiency-int8": 0.95,
        "demo-pytorch-int8": 5.0,
        "demo-accuracy-int8": 0.0,
        "demo-best-point-int8": 3.0,
        "demo-offline-fp32": 3.0,  # 9 times the rows, 3 times fewer layers
    }
    assert all(result.holds for result in found.values())


def test_the_worst_speed_counts(report):
    def spoil(document):
        for one in document["single_stream"]["systems"]:
            if one["speed"] == 0.4 and one["family"] == "int8":
                one["efficiency"] = 0.5
            if one["speed"] == 0.5 and one["family"] == "int8":
                one["accuracy"] = 0.89
                one["latency"] = {"mean_ms": 0.1, "p50_ms": 0.1}

    found = report(spoil)
    assert (found["demo-efficiency-int8"].figure, found["demo-efficiency-int8"].holds) == (0.5, False)
    assert (found["demo-accuracy-int8"].figure, found["demo-accuracy-int8"].holds) == (1.0, False)
    assert found["demo-best-point-int8"].figure == 3.0  # a faster point does not count if it lost a point of accuracy


def test_a_report_without_a_scenario_judges_what_it_can(report):
    found = report(lambda document: document.update(offline=None))
    assert "demo-offline-fp32" not in found
    assert "demo-efficiency-fp32" in found


@pytest.fixture
def main(monkeypatch, capsys):
    """Run the command on two targets: arguments -> (exit code, stdout)."""
    low = Target("low", 1.0, "ratio", lambda: 0.5)
    high = Target("high", 2.0, "times faster", lambda: 1.5, at_least=True)
    monkeypatch.setattr(targets, "TARGETS", (low, high))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["targets", *arguments])
        with pytest.raises(SystemExit) as stopped:
            targets.main()
        return stopped.value.code, capsys.readouterr().out

    return run


def test_targets_are_printed_and_a_missed_one_exits_1(main):
    code, out = main()
    assert code == 1
    low, high = out.splitlines()
    assert low.split() == ["low", "0.500", "<=", "1.00", "met", "(ratio)"]
    assert high.split() == ["high", "1.500", ">=", "2.00", "MISSED", "(times", "faster)"]


def test_named_targets_are_printed_as_json(main):
    code, out = main("low", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["targets"] == [
        {"name": "low", "figure": 0.5, "bar": 1.0, "unit": "ratio", "holds": True, "at_least": False}
    ]
    assert found["environment"]["command"]


def test_an_unknown_target_lists_the_known():
    command = [sys.executable, "-m", "studies.targets", "fly"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "fp32-12x768-64-tokens-1-thread" in " ".join(done.stderr.split())


def test_a_target_at_its_bar_is_met():
    for figure, at_least, holds in ((1.0, False, True), (1.01, False, False), (1.0, True, True), (0.99, True, False)):
        assert measure(Target("x", 1.0, "ratio", lambda figure=figure: figure, at_least=at_least)).holds is holds


def test_a_comparison_is_the_ratio_of_medians_over_fresh_processes(monkeypatch):
    seconds = {"chain": iter((3.0, 9.0, 4.0)), "whole": iter((2.0, 2.0, 50.0))}
    monkeypatch.setattr(targets, "in_child", lambda module, function, directory, system: next(seconds[system]))
    monkeypatch.setattr(targets._bundles, "get", lambda *shape: "bundles/2x48")
    assert targets._ratio("load_seconds", 2, 48, 3) == 2.0
