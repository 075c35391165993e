"""``report.html``: one self-contained page, rendered from ``report.json``."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fastbert.benchmarks.report.plots import draw_plots


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
    environment.filters |= {"number": _number, "percent": _percent, "signed_percent": _signed_percent, "size": _size}
    families = {family["name"]: family for family in document["families"]}
    return environment.get_template("page.html.j2").render(
        report=document,
        families=families,
        references=list(dict.fromkeys(f["name"] for f in document["families"] if f["kind"] == "whole")),
        best=_best(document),
        plots=[(plot, None if plot.svg is None else Markup(plot.svg)) for plot in draw_plots(document)],
    )


def _best(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the system at the verdict's speed."""
    found = document["single_stream"]
    name = document["verdict"]["system"]
    return next((system for system in found["systems"] if system["name"] == name), None) if found else None


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _signed_percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:+.{digits}f} %".replace("-", "−")


def _size(value: int | None) -> str:
    return "–" if value is None else f"{value / 1e6:,.0f} MB"
