"""``report.html``: one self-contained page, rendered from ``report.json``."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fastbert.benchmarks.classes import ClassDepth, mix_note
from fastbert.benchmarks.report.figures import Look
from fastbert.benchmarks.report.plots import draw_plots

_CLASSES = 20  # rows of the table of classes


def render_page(document: dict[str, Any]) -> str:
    """Render a report.

    :param document: `fastbert.benchmarks.report.results.BenchReport.as_dict`, or the content of a ``report.json``.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "percent": _percent, "signed_percent": _signed_percent}
    environment.filters |= {"size": _size, "points": _points}
    families = {family["name"]: family for family in document["families"]}
    look, best = Look(document), _best(document)

    def efficiency(system: dict[str, Any]) -> float | None:
        """Return what reports of earlier versions have in any precision only where the precision is the same."""
        value: float | None = system["efficiency"] if families[system["family"]]["same_precision"] else None
        return value

    def title(name: str) -> str:
        system = next(one for one in document["single_stream"]["systems"] if one["name"] == name)
        return f"the {look.title(system)}" if families[system["family"]]["kind"] == "whole" else look.title(system)

    return environment.get_template("page.html.j2").render(
        report=document,
        families=families,
        references=list(dict.fromkeys(f["name"] for f in document["families"] if f["kind"] == "whole")),
        best=best,
        compared=None if document["verdict"]["reference"] is None else title(document["verdict"]["reference"]),
        classes=_classes(document, best),
        efficiency=efficiency,
        title=title,
        plots=[(plot, None if plot.svg is None else Markup(plot.svg)) for plot in draw_plots(document)],
    )


def _best(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the system at the verdict's speed."""
    found = document["single_stream"]
    name = document["verdict"]["system"]
    return next((system for system in found["systems"] if system["name"] == name), None) if found else None


def _classes(document: dict[str, Any], best: dict[str, Any] | None) -> dict[str, Any]:
    """Return the table of classes of the verdict's chain, deepest first at the verdict's speed.

    :returns: ``speeds``; ``rows``: pairs of a class and its depth at each speed; ``left_out``: classes that have no
        room; ``note``: of `mix_note`.
    """
    if best is None or not best.get("classes"):
        return {"rows": []}
    own = [one for one in document["single_stream"]["systems"] if one["family"] == best["family"]]
    depths = [{depth["name"]: depth for depth in one["classes"]} for one in own]
    rows = [(depth["name"], [found[depth["name"]] for found in depths]) for depth in best["classes"]]
    return {
        "speeds": [one["speed"] for one in own],
        "rows": rows[:_CLASSES],
        "left_out": len(rows[_CLASSES:]),
        "note": mix_note([ClassDepth(**depth) for depth in best["classes"]]),
    }


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _signed_percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:+.{digits}f} %".replace("-", "−")


def _size(value: int | None) -> str:
    return "–" if value is None else f"{value / 1e6:,.0f} MB"
