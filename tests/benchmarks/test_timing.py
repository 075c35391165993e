import itertools
from types import SimpleNamespace

import pytest

from fastbert.benchmarks import timing
from fastbert.benchmarks.timing import alternate, alternating_medians


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when a system works: calls of it are (name, item), and ``work`` takes milliseconds."""
    now = [0]
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: now[0])

    def work(milliseconds):
        now[0] += int(milliseconds * 1e6)

    return SimpleNamespace(work=work)


def test_every_system_runs_every_item_in_turns_and_is_timed_alone(clock):
    order = []

    def system(name, milliseconds):
        def run(item):
            order.append(name)
            clock.work(milliseconds + item)
            return name, item

        return run

    turns = list(alternate({"a": system("a", 0), "b": system("b", 20)}, range(10), block=5, rest=False))
    assert [list(turn.items) for turn in turns] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    for turn in turns:
        assert turn.results == {name: [(name, item) for item in turn.items] for name in "ab"}
        assert turn.times_ms == {"a": list(turn.items), "b": [20 + item for item in turn.items]}
    assert order == ["a"] * 6 + ["b"] * 6 + ["b"] * 6 + ["a"] * 6  # one untimed call before each


def test_a_caller_may_stop_between_turns_with_the_same_items_from_all():
    counts = {"a": 0, "b": 0}

    def system(name):
        def run(_):
            counts[name] += 1

        return run

    turn = next(alternate({name: system(name) for name in "ab"}, range(100), block=4, rest=False))
    assert {name: len(times) for name, times in turn.times_ms.items()} == {"a": 4, "b": 4}
    assert counts == {"a": 5, "b": 5}


def test_systems_with_thread_pools_rest_before_each_turn(monkeypatch):
    rests = []
    monkeypatch.setattr(timing.time, "sleep", rests.append)
    list(alternate({"a": lambda _: None, "b": lambda _: None}, range(4), block=2, rest=True))
    assert len(rests) == 4  # two systems, two turns
    list(alternate({"a": lambda _: None}, range(4), block=2, rest=False))
    assert len(rests) == 4


def test_medians_are_of_calls_in_turns_each_after_an_untimed_one(clock):
    order = []
    slower = itertools.count()

    def quick():
        order.append("a")
        clock.work(1)

    def slow():
        order.append("b")
        clock.work(next(slower))

    medians = alternating_medians({"a": quick, "b": slow}, 4, rest=False)
    # b's calls take 0, 1, 2 ... ms; every second one is timed; three of the seven turns are warm-up
    assert medians == {"a": 1.0, "b": 10.0}
    assert order[:8] == ["a", "a", "b", "b", "b", "b", "a", "a"]
    assert len(order) == 2 * 2 * (3 + 4)
