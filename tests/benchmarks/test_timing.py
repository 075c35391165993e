import time

from fastbert.benchmarks.timing import alternate, alternating_medians


def test_every_system_runs_every_item_in_turns_and_is_timed_alone():
    order = []

    def system(name, seconds):
        def run(item):
            order.append(name)
            time.sleep(seconds)
            return name, item

        return run

    turns = list(alternate({"a": system("a", 0.0), "b": system("b", 0.002)}, range(10), block=5, rest=False))
    assert [list(turn.items) for turn in turns] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    for turn in turns:
        assert turn.results == {name: [(name, item) for item in turn.items] for name in "ab"}
        assert min(turn.times_ms["b"]) >= 2.0
        assert sorted(turn.times_ms["a"])[2] < 2.0  # the median: another program may take the processor
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


def test_medians_are_of_calls_in_turns_each_after_an_untimed_one():
    order = []

    def system(name, seconds):
        def run():
            order.append(name)
            time.sleep(seconds)

        return run

    medians = alternating_medians({"a": system("a", 0.0), "b": system("b", 0.002)}, 4, rest=False)
    assert medians["a"] < 2.0 <= medians["b"]
    assert order[:8] == ["a", "a", "b", "b", "b", "b", "a", "a"]
    assert len(order) == 2 * 2 * (3 + 4)
