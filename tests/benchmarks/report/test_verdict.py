import dataclasses

import numpy as np
import pytest

from fastbert.benchmarks.report.verdict import verdict
from fastbert.benchmarks.scenarios.single_stream import RivalResult
from fastbert.benchmarks.statistics.paired import paired_difference


@pytest.fixture
def judge(report):
    """Judge the report with other figures: name of a system -> changes. The others are left out."""

    def judge(changes, *, kinds=None, reference="onnxruntime", rivals=()):
        known = {one.name: one for one in report.single_stream.systems}
        systems = tuple(
            dataclasses.replace(
                known.get(name) or known["onnxruntime"], **{"name": name, "accuracy_change": None, **one}
            )
            for name, one in changes.items()
        )
        found = dataclasses.replace(report.single_stream, systems=systems, accuracy_reference=reference, rivals=rivals)
        families = (*report.families, *(kinds or ()))
        return verdict(dataclasses.replace(report, single_stream=found, families=families))

    return judge


def at(mean_ms, report):
    latency = report.single_stream.systems[0].latency
    return dataclasses.replace(latency, mean_ms=mean_ms)


def changed(gained, lost):
    return paired_difference(
        np.array([True] * gained + [False] * lost + [True] * (1000 - gained - lost)),
        np.array([False] * gained + [True] * lost + [True] * (1000 - gained - lost)),
    )


def test_the_fastest_chain_within_half_a_point_is_recommended(judge, report):
    found = judge(
        {
            "onnxruntime": {"accuracy": 0.9, "latency": at(8.0, report)},
            "fp32 speed 0": {"accuracy": 0.9, "latency": at(9.0, report)},
            "fp32 speed 0.4": {
                "accuracy": 0.896, "latency": at(4.0, report), "mean_layers": 1.5, "accuracy_change": changed(2, 6)
            },
            "fp32 speed 1": {"accuracy": 0.89, "latency": at(1.0, report)},
        }
    )  # fmt: skip
    assert (found.system, found.reference, found.times_faster) == ("fp32 speed 0.4", "onnxruntime", 2.0)
    assert found.accuracy_change == pytest.approx(-0.004)
    assert found.text == (
        "At speed 0.4 fastbert fp32 is 2.0 times faster on average than the fastest at full depth, the whole model in "
        "ONNX Runtime fp32. Its accuracy is 89.6 % of 60 rows, −0.4 points (95 % interval −1.1 to +0.2) against it, "
        "which may be chance. It runs 1.5 of 3 layers."
    )


def test_a_change_that_is_not_chance_is_not_called_so(judge, report):
    better = {"accuracy": 0.92, "latency": at(4.0, report), "accuracy_change": changed(24, 4)}
    found = judge({"onnxruntime": {"accuracy": 0.9, "latency": at(8.0, report)}, "fp32 speed 0.4": better})
    assert "+2.0 points (95 % interval +1.0 to +3.2) against it. It" in found.text


def test_the_comparison_is_with_the_fastest_of_all_at_full_depth(judge, report):
    openvino = dataclasses.replace(
        next(family for family in report.families if family.name == "onnxruntime"),
        name="openvino-int8", title="whole model, OpenVINO int8", precision="int8",
    )  # fmt: skip
    systems = {
        "onnxruntime": {"accuracy": 0.9, "latency": at(8.0, report)},
        "openvino-int8": {"family": "openvino-int8", "accuracy": 0.88, "latency": at(2.0, report)},
        "fp32 speed 0": {"accuracy": 0.9, "latency": at(9.0, report)},
        "fp32 speed 0.4": {"accuracy": 0.9, "latency": at(1.0, report)},
    }
    found = judge(systems, kinds=[openvino])
    assert (found.reference, found.times_faster, found.accuracy_change) == ("openvino-int8", 2.0, 0.0)
    assert "than the fastest at full depth, the whole model in OpenVINO int8. Its accuracy is" in found.text
    assert "+0.0 points against the whole model in ONNX Runtime fp32. It runs" in found.text
    systems["fp32 speed 0"]["latency"] = at(1.5, report)
    found = judge(systems, kinds=[openvino])
    assert (found.reference, found.times_faster) == ("fp32 speed 0", 1.5)
    assert "than the fastest at full depth, fastbert fp32 at speed 0. Its" in found.text


def test_a_chain_may_be_slower(judge, report):
    slow = {"accuracy": 0.9, "latency": at(16.0, report)}
    found = judge({"onnxruntime": {"accuracy": 0.9, "latency": at(8.0, report)}, "fp32 speed 0.4": slow})
    assert "is 2.0 times slower on average than the fastest at full depth, the whole model" in found.text


def test_without_full_depth_the_loss_is_not_known(judge, report):
    one = {"fp32 speed 0.4": {"accuracy": 0.9, "latency": at(4.0, report), "mean_layers": 1.5}}
    assert judge(one, reference=None).text == (
        "At speed 0.4 fastbert fp32 takes 4.00 ms per text on average. Its accuracy is 90.0 % of 60 rows. It runs 1.5 "
        "of 3 layers. No system ran at full depth, so what this loses is not known: measure speed 0 too."
    )


def test_without_a_good_speed_the_closest_is_named(judge):
    found = judge(
        {
            "onnxruntime": {"accuracy": 0.9},
            "fp32 speed 0.4": {"accuracy": 0.8, "accuracy_change": changed(10, 110)},
            "fp32 speed 1": {"accuracy": 0.5},
        }
    )
    assert found.system is None
    assert found.text == (
        "No measured speed keeps the accuracy within 0.5 points of the whole model in ONNX Runtime fp32. The closest, "
        "fastbert fp32 at speed 0.4, changes it by −10.0 (95 % interval −12.2 to −8.0)."
    )


def rival(report, name, ms, accuracy, change=None):
    latency = dataclasses.replace(at(ms, report), p50_ms=ms)
    against = {} if change is None else {"fp32 speed 0.4": change}
    return RivalResult(name, f"model {name}", latency, latency, accuracy, accuracy, None, {}, against)


def test_rivals_that_beat_the_recommended_chain_are_named(judge, report):
    chain = dataclasses.replace(at(4.0, report), p50_ms=4.0)
    systems = {
        "onnxruntime": {"accuracy": 0.9, "latency": at(8.0, report)},
        "fp32 speed 0.4": {"accuracy": 0.9, "latency": chain, "latency_with_tokenization": chain},
    }
    worse = [rival(report, "a", 1.0, 0.89), rival(report, "b", 5.0, 0.95), rival(report, "same", 3.9, 0.9)]
    assert judge(systems, rivals=worse).beaten_by == ()
    c, d = rival(report, "c", 3.0, 0.92, changed(24, 4)), rival(report, "d", 0.5, 0.904, changed(6, 2))
    found = judge(systems, rivals=[*worse, c, d])
    assert found.beaten_by == ("d", "c")
    assert found.text.endswith(
        " 2 rivals beat fastbert fp32 at speed 0.4, which takes 4.00 ms from text to answer (p50) at 90.0 %: model d "
        "(0.50 ms at 90.4 %, +0.4 points, 95 % interval −0.2 to +1.1, which may be chance); model c (3.00 ms at 92.0 "
        "%, +2.0 points, 95 % interval +1.0 to +3.2)."
    )
    systems["fp32 speed 0.4"]["accuracy"] = 0.7  # none is recommended
    found = judge(systems, rivals=worse[:1])
    assert (found.system, found.beaten_by) == (None, ("a",))
    assert " A rival beats fastbert fp32 at speed 0.4, which takes 4.00 ms" in found.text
    assert found.text.endswith(" at 70.0 %: model a (1.00 ms at 89.0 %).")


def test_without_latencies_there_is_no_verdict(report):
    assert verdict(dataclasses.replace(report, single_stream=None)).text == "No latency was measured."
