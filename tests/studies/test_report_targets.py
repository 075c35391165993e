import json

import pytest

from studies.report_targets import report_targets
from studies.targets import measure

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


def test_every_promise_is_judged_from_the_report(report):
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
    assert found["demo-best-point-int8"].figure == 3.0  # a faster point that lost a point of accuracy is none


def test_a_report_without_a_scenario_judges_what_it_can(report):
    found = report(lambda document: document.update(offline=None))
    assert "demo-offline-fp32" not in found
    assert "demo-efficiency-fp32" in found
