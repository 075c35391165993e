import dataclasses

import pytest

from fastbert.benchmarks.classes import ClassDepth
from fastbert.benchmarks.machine.load import MachineLoad
from fastbert.benchmarks.report.warnings import CHECKS, Evidence, find_warnings
from fastbert.benchmarks.systems import Skipped

QUIET = MachineLoad(0.5, 0.0, 0.0, 0.1, 0.0)


@pytest.fixture
def codes(report):
    def codes(*, load=QUIET, truncated=0, noise=0.01, drift=0.0, **changes):
        changed = dataclasses.replace(report, **changes)
        return {w.code for w in find_warnings(Evidence(changed, load, truncated, noise, drift))}

    return codes


def replaced(part, **changes):
    return dataclasses.replace(part, **changes)


def test_each_check_warns_when_it_should_and_only_then(report, codes):
    plain = tuple(replaced(one, classes=()) for one in report.single_stream.systems)
    calm = replaced(report.single_stream, window_spread=0.01, rows=2000, stopped="stable", systems=plain)
    quiet = {"single_stream": calm, "offline": None, "server": None, "families": (), "skipped": ()}
    assert codes(**quiet) == set()
    fallback = replaced(report.families[0], settings={"provider_asked": "CUDA", "provider": "CPU"})
    other = replaced(report.families[0], same_precision=False)
    best = report.verdict.system
    mixed = tuple(
        replaced(
            one, classes=(ClassDepth("a", 30, 3.0, 1.0), ClassDepth("b", 30, 1.0, 0.0)) if one.name == best else ()
        )
        for one in calm.systems
    )
    cases = {
        "class_mix": {"single_stream": replaced(calm, systems=mixed)},
        "incomplete": {"status": "incomplete", "interrupted_by": "SIGINT"},
        "unstable": {"single_stream": replaced(calm, window_spread=0.2)},
        "stopped_by_time": {"single_stream": replaced(calm, stopped="time", passes=0.5)},
        "too_few_samples": {"single_stream": replaced(calm, rows=99)},
        "saturated": {"server": replaced(report.server, systems=report.server.systems[:1])},
        "provider_fallback": {"families": (fallback,)},
        "other_precision": {"families": (other,)},
        "other_load": {"load": replaced(QUIET, other_share=0.4)},
        "clock": {"load": replaced(QUIET, clock_step_s=-3.0)},
        "drift": {"drift": 0.3},
        "threads": {"method": {**report.method, "threads": 4096}},
        "rivals_saw_rows": {"method": {**report.method, "rivals": "train.tsv", "rivals_timed_rows": 3}},
        "truncated": {"truncated": 3},
        "skipped": {"skipped": (Skipped("openvino", "it is not installed"),)},
    }
    assert set(cases) == set(CHECKS)
    for code, change in cases.items():
        found = codes(**{**quiet, **change})
        assert code in found, code
        assert found <= {code, "too_few_samples"}, code
    assert "too_few_samples" in codes(**{**quiet, "single_stream": replaced(calm, rows=600)})  # p99, not the accuracy
    assert "unstable" in codes(**quiet, noise=0.5)
    assert "other_load" in codes(**quiet, load=replaced(QUIET, stolen_share=0.2))


def test_few_rows_that_are_all_right_leave_the_accuracy_open(report):
    all_right = tuple(replaced(one, accuracy=1.0) for one in report.single_stream.systems)
    messages = {}
    for rows in (20, 2000):
        changed = replaced(report, single_stream=replaced(report.single_stream, rows=rows, systems=all_right))
        messages[rows] = " ".join(one.message for one in find_warnings(Evidence(changed, QUIET, 0, None, None)))
    assert "20 rows give accuracy only to within 8.1 points (95 % interval)" in messages[20]
    assert "give accuracy only" not in messages[2000]


def test_load_is_reported_with_its_share(report):
    load = MachineLoad(own_share=0.5, other_share=0.4, stolen_share=0.03, load_average=1.5, clock_step_s=-3.0)
    messages = {w.message for w in find_warnings(Evidence(report, load, 0, None, None))}
    assert {
        "Other programs used 40 % of the processor during the bench (load average before: 1.5). All systems took turns "
        "and were affected equally, but absolute times are too long.",
        "3 % of CPU time was stolen by the hypervisor.",
        "The system's clock was set during the bench, by -3.00 s; times are from the monotonic clock.",
    } <= messages
