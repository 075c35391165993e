"""The plots of a report."""

import copy
import re

from fastbert.benchmarks.report import plots


def _speeds(document):
    """Return the labels of speeds in the first plot."""
    [plot] = plots.draw_plots(document)
    axes = plot.svg.rpartition("accuracy, %")[2]  # what comes after both axes' own numbers
    return re.findall(r">(0|0\.4|1)</text>", axes)


def test_labels_of_speeds_do_not_touch(document, monkeypatch):
    monkeypatch.setattr(plots, "_PLOTS", {"plot-accuracy": plots._PLOTS["plot-accuracy"]})
    near, far = copy.deepcopy(document), copy.deepcopy(document)
    for one, distance in ((near, 1.0), (far, 4.0)):
        chain = [system for system in one["single_stream"]["systems"] if system["family"] == "fp32"]
        for place, system in enumerate(chain):
            system["latency"] = {**system["latency"], "p50_ms": distance**place}
            system["accuracy"] = 0.5
    assert _speeds(far) == ["0", "0.4", "1"]
    assert _speeds(near) == ["0"]
