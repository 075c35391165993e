import dataclasses

import pytest

from fastbert.benchmarks.report.verdict import verdict


@pytest.fixture
def judge(report):
    """Judge the report with other figures: name of a system -> changes."""

    def judge(changes):
        systems = tuple(
            dataclasses.replace(one, **changes[one.name]) for one in report.single_stream.systems if one.name in changes
        )
        return verdict(
            dataclasses.replace(report, single_stream=dataclasses.replace(report.single_stream, systems=systems))
        )

    return judge


def at(mean_ms, report):
    latency = report.single_stream.systems[0].latency
    return dataclasses.replace(latency, mean_ms=mean_ms)


def test_the_fastest_chain_within_half_a_point_is_recommended(judge, report):
    found = judge(
        {
            "onnxruntime": {"accuracy": 0.9, "latency": at(8.0, report)},
            "fp32 speed 0": {"accuracy": 0.9, "latency": at(9.0, report)},
            "fp32 speed 0.4": {
                "accuracy": 0.896, "latency": at(4.0, report), "mean_layers": 1.5, "times_faster": {"onnxruntime": 2.0}
            },
            "fp32 speed 1": {"accuracy": 0.89, "latency": at(1.0, report)},
        }
    )  # fmt: skip
    assert (found.system, found.reference, found.times_faster) == ("fp32 speed 0.4", "onnxruntime", 2.0)
    assert found.accuracy_change == pytest.approx(-0.004)
    assert found.text == (
        "At speed 0.4 fastbert fp32 is 2.0 times faster than the whole model in ONNX Runtime fp32, on average, "
        "accuracy −0.4 points (89.6 % of 60 rows). It runs 1.5 of 3 layers."
    )


def test_a_chain_may_be_slower(judge):
    slow = {"accuracy": 0.9, "times_faster": {"onnxruntime": 0.5}}
    found = judge({"onnxruntime": {"accuracy": 0.9}, "fp32 speed 0": slow})
    assert "is 2.0 times slower than the whole model" in found.text


def test_without_a_good_speed_the_closest_is_named(judge):
    found = judge(
        {"onnxruntime": {"accuracy": 0.9}, "fp32 speed 0.4": {"accuracy": 0.8}, "fp32 speed 1": {"accuracy": 0.5}}
    )
    assert found.system is None
    assert found.text == (
        "No measured speed keeps the accuracy within 0.5 points of the whole model's. The closest, fastbert fp32 at "
        "speed 0.4, loses 10.0."
    )


def test_without_latencies_there_is_no_verdict(report):
    assert verdict(dataclasses.replace(report, single_stream=None)).text == "No latency was measured."
