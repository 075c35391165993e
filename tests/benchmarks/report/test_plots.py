"""The plots of a report."""

import copy
import re

from fastbert.benchmarks.report import plots


def _speeds(document):
    """Return the labels of speeds in the first plot."""
    [plot] = plots.draw_plots(document)
    axes = plot.svg.rpartition("accuracy, %")[2]  # what comes after both axes' own numbers
    return re.findall(r">(0|0\.4|1)</text>", axes)


def test_labels_of_speeds_do_not_touch(document, one_plot):
    near, far = copy.deepcopy(document), copy.deepcopy(document)
    for one, distance in ((near, 1.0), (far, 4.0)):
        chain = [system for system in one["single_stream"]["systems"] if system["family"] == "fp32"]
        for place, system in enumerate(chain):
            system["latency_with_tokenization"] = {**system["latency"], "p50_ms": distance**place}
            system["accuracy"] = 0.5
    assert _speeds(far) == ["0", "0.4", "1"]
    assert _speeds(near) == ["0"]


def test_the_frontier_is_the_best_below_each_latency():
    points = [(1.0, 80.0), (2.0, 75.0), (3.0, 90.0), (3.0, 91.0), (9.0, 91.0)]
    assert plots.frontier(points) == [(1.0, 80.0), (3.0, 91.0), (9.0, 91.0)]


def test_rivals_are_points_of_the_first_plot(document, one_plot):
    one = copy.deepcopy(document)
    title = "_a $\\frac$ rival_"  # a formula to matplotlib, and left out of legends
    rival = {"title": title, "accuracy": 0.5, "latency_with_tokenization": {"p50_ms": 0.01, "mean_ms": 1.0}}
    one["single_stream"]["rivals"] = [rival]
    for shown, drawn in ((document, False), (one, True)):
        [plot] = plots.draw_plots(shown)
        assert (title in plot.svg) is drawn


def test_ten_rivals_look_different(document):
    one = copy.deepcopy(document)
    latency = {"p50_ms": 0.01, "mean_ms": 1.0}
    rivals = [{"title": f"r{index}", "accuracy": 0.5, "latency_with_tokenization": latency} for index in range(10)]
    one["single_stream"]["rivals"] = rivals
    figure = plots._accuracy(one, plots.Look(one))
    lines = [line for line in figure.axes[0].get_lines() if re.fullmatch(r"r\d", line.get_label())]
    assert len({(line.get_marker(), line.get_markerfacecolor()) for line in lines}) == len(rivals)
