import time

from fastbert.benchmarks.clock import alternate


def test_every_system_runs_every_item_in_turns_and_is_timed_alone():
    order = []

    def system(name, seconds):
        def run(item):
            order.append(name)
            time.sleep(seconds)
            return name, item

        return run

    latencies, results = alternate({"a": system("a", 0.0), "b": system("b", 0.002)}, range(10), block=5, rest=False)
    assert results == {name: [(name, item) for item in range(10)] for name in "ab"}
    assert latencies["b"].min() >= 2.0
    assert latencies["a"].max() < 2.0
    turns = order[6:]  # after the warm-up
    assert turns == ["a"] * 6 + ["b"] * 6 + ["b"] * 6 + ["a"] * 6
