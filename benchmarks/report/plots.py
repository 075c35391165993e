"""The plots of the report page, drawn by matplotlib as SVG. Each takes ``report.json`` and answers one question."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fastbert.benchmarks.report.figures import (
    RIVAL_COLOUR,
    RIVAL_MARKERS,
    STYLE,
    WIDTH_IN,
    Look,
    legend_text,
    svg_element,
    time_axis,
)
from fastbert.benchmarks.report.results import SCHEMA


@dataclass(frozen=True)
class Plot:
    """A plot of the page.

    :param name: its id in the page.
    :param question: that it answers: its heading.
    :param caption: how to read it.
    :param svg: an ``<svg>`` element without size, or None: its data was not measured.
    """

    name: str
    question: str
    caption: str
    svg: str | None


def draw_plots(document: dict[str, Any]) -> list[Plot]:
    """Draw every plot whose scenario was measured; the captions of the others say which option measures it.

    :param document: `fastbert.benchmarks.report.results.BenchReport.as_dict`.
    """
    assert document["schema"] == SCHEMA
    look = Look(document)
    drawn = []
    for name, (question, caption, missing, draw) in _PLOTS.items():
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):  # ids differ from plot to plot
            figure = draw(document, look)
            svg = None if figure is None else svg_element(figure, question)
        drawn.append(Plot(name, question, missing if svg is None else caption, svg))
    return drawn


def _accuracy(document: dict[str, Any], look: Look) -> Figure | None:
    found = document["single_stream"]
    if found is None or any(system["accuracy"] is None for system in found["systems"]):
        return None
    rivals = found.get("rivals", [])
    figure = Figure(figsize=(WIDTH_IN, 4.4 + 0.1 * len(rivals)))
    axes = figure.add_subplot()
    speeds = []
    best = frontier([(_whole_time(one), 100 * one["accuracy"]) for one in (*found["systems"], *rivals)])
    axes.plot(
        *zip(*best, strict=True),
        color="#b3bbc4",
        linewidth=5,
        alpha=0.6,
        drawstyle="steps-post",
        zorder=1,
        label="the best at most this slow",
    )
    for name, family in look.families.items():
        systems = [system for system in found["systems"] if system["family"] == name]
        times = [_whole_time(system) for system in systems]
        accuracies = [100 * system["accuracy"] for system in systems]
        chain = family["kind"] != "whole"
        axes.plot(
            times, accuracies, label=family["title"], color=look.colours[name], marker=look.markers[name],
            linestyle="-" if chain else "none", linewidth=2 if family["kind"] == "chain" else 1, markersize=6,
            zorder=3 if family["kind"] == "chain" else 2,
        )  # fmt: skip
        if family["kind"] == "chain":
            above = look.chains.index(name) % 2 == 0
            speeds += [
                axes.annotate(
                    f"{system['speed']:g}", (x, y), xytext=(6, 3) if above else (-6, -3), textcoords="offset points",
                    ha="left" if above else "right", va="bottom" if above else "top", fontsize=8,
                    color=look.colours[name], zorder=4,
                )
                for system, x, y in zip(systems, times, accuracies, strict=True)
            ]  # fmt: skip
    for index, rival in enumerate(rivals):
        hollow = index // len(RIVAL_MARKERS) % 2 == 1
        axes.plot(
            [_whole_time(rival)], [100 * rival["accuracy"]], label=legend_text(rival["title"]), color=RIVAL_COLOUR,
            marker=RIVAL_MARKERS[index % len(RIVAL_MARKERS)], linestyle="none", markersize=9, zorder=3,
            markerfacecolor="white" if hollow else RIVAL_COLOUR,
        )  # fmt: skip
    time_axis(axes, [_whole_time(one) for one in (*found["systems"], *rivals)], "x", always_log=True)
    axes.margins(x=0.08, y=0.14)
    axes.set_xlabel("p50 from text to answer at batch 1, ms (left is faster)")
    axes.set_ylabel("accuracy, % (up is better)")
    figure.legend(loc="outside lower center", ncols=2)
    _keep_apart(figure, speeds)
    return figure


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (time, accuracy) that are more accurate than every point at most as slow, fastest first."""
    found: list[tuple[float, float]] = []
    for time, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or accuracy > found[-1][1]:
            found.append((time, accuracy))
    if len(found) > 1 or len(points) > 1:
        found.append((max(time for time, _ in points), found[-1][1]))
    return found


def _whole_time(one: dict[str, Any]) -> float:
    return _middle(one["latency_with_tokenization"])


def _keep_apart(figure: Figure, labels: list[Any]) -> None:
    """Remove labels that would touch an earlier one."""
    figure.draw_without_rendering()  # places everything
    kept: list[Any] = []
    for label in labels:
        box = label.get_window_extent().padded(1)
        if any(box.overlaps(other) for other in kept):
            label.remove()
        else:
            kept.append(box)


def _exits(document: dict[str, Any], look: Look) -> Figure | None:
    found = document["single_stream"]
    if found is None:
        return None
    systems = [system for system in found["systems"] if system["family"] in look.chains]
    speeds = sorted({system["speed"] for system in systems})
    figure = Figure(figsize=(WIDTH_IN, 0.55 + 0.72 * len(speeds) + (0.25 if len(look.chains) > 1 else 0)))
    rows = figure.subplots(len(speeds), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    width = 0.8 / len(look.chains)
    for axes, speed in zip(rows, speeds, strict=True):
        for index, name in enumerate(look.chains):
            system = next(one for one in systems if one["family"] == name and one["speed"] == speed)
            layers = [int(layer) + 1 for layer in system["exit_histogram"]]
            shares = [100 * count / found["rows"] for count in system["exit_histogram"].values()]
            places = [layer + (index - (len(look.chains) - 1) / 2) * width for layer in layers]
            axes.bar(places, shares, width, color=look.colours[name], label=look.families[name]["title"])
            if len(look.chains) == 1:
                for place, share in zip(places, shares, strict=True):
                    if share >= 0.5:
                        axes.annotate(
                            f"{share:.0f}", (place, share), xytext=(0, 1), textcoords="offset points", ha="center",
                            va="bottom", fontsize=7.5,
                        )  # fmt: skip
        axes.set_ylabel(f"speed {speed:g}", rotation=0, ha="right", va="center")
        axes.set_ylim(0, 118)
        axes.set_yticks([0, 50, 100])
        axes.tick_params(axis="y", labelsize=7.5)
        axes.grid(axis="x", visible=False)
    rows[-1].set_xlabel("layers run before the answer (height: % of rows)")
    rows[-1].set_xticks([layer + 1 for layer in document["model"]["exits"]])
    if len(look.chains) > 1:
        handles, labels = rows[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _exit_latency(document: dict[str, Any], look: Look) -> Figure | None:
    found = document["single_stream"]
    if found is None:
        return None
    figure = Figure(figsize=(WIDTH_IN, 3.9))
    axes = figure.add_subplot()
    width = 0.7 / len(look.chains)
    for index, name in enumerate(look.chains):
        boxes, places = [], []
        for exit_latency in look.families[name]["exit_latency"]:
            box = exit_latency["latency"]
            places.append(exit_latency["layer"] + 1 + (index - (len(look.chains) - 1) / 2) * width)
            boxes.append(
                {
                    "whislo": box["p5_ms"], "q1": box["p25_ms"], "med": box["p50_ms"], "q3": box["p75_ms"],
                    "whishi": box["p95_ms"], "fliers": [],
                }
            )  # fmt: skip
        colour = look.colours[name]
        axes.bxp(
            boxes, positions=places, widths=width * 0.85, showfliers=False, patch_artist=True, manage_ticks=False,
            boxprops={"facecolor": colour, "alpha": 0.35, "edgecolor": colour},
            medianprops={"color": colour, "linewidth": 2}, whiskerprops={"color": colour}, capprops={"color": colour},
        )  # fmt: skip
        axes.plot([], [], color=colour, linewidth=6, alpha=0.5, label=look.families[name]["title"])
    references = dict.fromkeys(
        reference for name in look.chains if (reference := look.families[name]["reference"]) is not None
    )
    for index, reference in enumerate(references):
        system = next(one for one in found["systems"] if one["name"] == reference)
        axes.axhline(
            _middle(system["latency"]), color=look.colours[reference], linestyle=("--", ":")[index % 2], linewidth=1.5,
            label=f"p50 of {look.families[reference]['title']}",
        )  # fmt: skip
    axes.set_xticks([layer + 1 for layer in document["model"]["exits"]])
    axes.set_ylim(bottom=0)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("layers run before the answer")
    axes.set_ylabel("latency, ms")
    figure.legend(loc="outside lower center", ncols=1 if len(references) > 1 else 2)
    return figure


def _server(document: dict[str, Any], look: Look) -> Figure | None:
    found = document["server"]
    if found is None:
        return None
    systems = [system for system in found["systems"] if _shown_under_load(system, document, look)]
    figure = Figure(figsize=(WIDTH_IN, 5.6))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.15, 1))
    rates = found["rates_per_s"]
    upper.plot(rates, rates, color="#b3bbc4", linestyle=":", linewidth=1.5, label="every request answered")
    for system in systems:
        name = system["family"]
        style = {
            "color": look.colours[name], "marker": look.markers[name], "markersize": 5,
            "linewidth": 2 if name in look.chains else 1.2,
        }  # fmt: skip
        points = system["points"]
        upper.plot(
            [point["rate_per_s"] for point in points], [point["completed_per_s"] for point in points],
            label=look.title(system), **style,
        )  # fmt: skip
        held = [point for point in points if not point["saturated"] and point["latency"] is not None]
        lower.plot([p["rate_per_s"] for p in held], [_tail(p["latency"]) for p in held], **style)
    for axes in (upper, lower):
        if max(rates) > 10 * min(rates):
            axes.set_xscale("log")
        axes.set_xticks(rates, labels=[f"{rate:g}" for rate in rates])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
    upper.set_ylim(bottom=0)
    upper.set_ylabel("answered, rows/s")
    tails = [_tail(p["latency"]) for s in systems for p in s["points"] if not p["saturated"] and p["latency"]]
    time_axis(lower, tails, "y")
    lower.set_ylabel("p95 from arrival, ms")
    lower.set_xlabel("arrivals, rows/s")
    if not tails:
        lower.text(0.5, 0.5, "saturated at every rate", transform=lower.transAxes, ha="center")
    figure.legend(loc="outside lower center", ncols=1 if len(systems) < 4 else 2, fontsize=8)
    return figure


def _offline(document: dict[str, Any], look: Look) -> Figure | None:
    found = document["offline"]
    if found is None:
        return None
    systems = sorted(found["systems"], key=lambda system: system["rows_per_s"])
    figure = Figure(figsize=(WIDTH_IN, 0.7 + 0.23 * len(systems)))
    axes = figure.add_subplot()
    bars = axes.barh(
        [look.title(system) for system in systems],
        [system["rows_per_s"] for system in systems],
        color=[look.colours[system["family"]] if system["family"] in look.chains else "#aab3bd" for system in systems],
    )
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8.5)
    axes.margins(x=0.14)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.set_xlabel("rows/s, tokenization included")
    return figure


def _shown_under_load(system: dict[str, Any], document: dict[str, Any], look: Look) -> bool:
    """Return whether a system is drawn in this crowded plot: whole models, and one speed per chain, the verdict's."""
    if system["speed"] is None:
        return True
    if system["family"] not in look.chains:
        return False
    best = document["verdict"]["system"]
    speeds = [one["speed"] for one in document["server"]["systems"] if one["family"] == system["family"]]
    recommended = float(best.rpartition(" ")[2]) if best else max(speeds)
    return bool(system["speed"] == (recommended if recommended in speeds else max(speeds)))


def _middle(latency: dict[str, Any]) -> float:
    """Return the median, or with too few rows the mean."""
    return float(latency["mean_ms"] if latency["p50_ms"] is None else latency["p50_ms"])


def _tail(latency: dict[str, Any]) -> float:
    """Return p95, or with too few requests the maximum."""
    return float(latency["max_ms"] if latency["p95_ms"] is None else latency["p95_ms"])


# name -> question, caption, caption if it was not measured, function
_PLOTS: dict[str, tuple[str, str, str, Callable[[dict[str, Any], Look], Figure | None]]] = {
    "plot-accuracy": (
        "What accuracy for this latency?",
        "Numbers beside points are speeds; single points are models that always run all layers, and rivals. The grey "
        "line is the best of all that is at most this slow.",
        "Not drawn: it needs the scenario single-stream and rows with labels.",
        _accuracy,
    ),
    "plot-exits": (
        "Where do texts exit?",
        "Share of the rows that exit after each layer, at each speed.",
        "Not measured: add --scenario single-stream.",
        _exits,
    ),
    "plot-exit-latency": (
        "How long does a text take to exit after each layer?",
        "Median, quartiles, and 5th to 95th percentile of the rows, all speeds together; rows differ in length.",
        "Not measured: add --scenario single-stream.",
        _exit_latency,
    ),
    "plot-server": (
        "How much load can it take?",
        "Requests answered against requests arrived, and p95 until saturation. A system is saturated where its line "
        "falls below the dotted one.",
        "Not measured: add --scenario server.",
        _server,
    ),
    "plot-offline": (
        "How many rows per second, all at once?",
        "The median of the passes.",
        "Not measured: add --scenario offline.",
        _offline,
    ),
}
