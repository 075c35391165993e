"""The report page, opened in a real browser."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.browser import set_width

from fastbert.benchmarks.report import plots
from fastbert.benchmarks.report.page import render_page

PLOTS = ("plot-accuracy", "plot-exits", "plot-exit-latency", "plot-server", "plot-offline")


@pytest.fixture(scope="module")
def page(document, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(document), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_readable_at_desktop_and_phone_width(browser, page, width):
    set_width(browser, width)
    browser.get(page.as_uri())
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= width  # no horizontal scroll
    assert browser.execute_script("return document.querySelector('#verdict').innerText.length") > 40
    for name in PLOTS:
        box = browser.execute_script(
            "const r = document.querySelector(`#${arguments[0]} svg`).getBoundingClientRect();"
            "return [r.left, r.right, r.width, r.height]",
            name,
        )
        assert 0 <= box[0] < box[1] <= width
        assert box[2] > 250
        assert box[3] > 120
        smallest = browser.execute_script(
            "const svg = document.querySelector(`#${arguments[0]} svg`), scale = svg.getScreenCTM().a;"
            "return Math.min(...[...svg.querySelectorAll('text')]"
            ".map(t => parseFloat(getComputedStyle(t).fontSize) * scale))",
            name,
        )
        assert smallest >= 6.5  # px
    wide = browser.execute_script(
        "return [...document.querySelectorAll('table')].filter(t => !t.closest('.scroll')).length"
    )
    assert wide == 0
    overlapping = browser.execute_script(
        "return [...document.querySelectorAll('p, li, h1, h2, h3, dd, .tile')]"
        ".filter(e => !e.closest('.scroll') && e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 80))"
    )
    assert overlapping == []


def test_the_page_loads_nothing_from_outside(browser, page):
    browser.get(page.as_uri())
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert asked == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.ids = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#"):
                self.found.append((tag, value))


def test_the_page_is_one_file_with_ids_that_are_unique(page):
    text = page.read_text()
    links = _Links()
    links.feed(text)
    assert links.found == []
    assert re.findall(r"url\((?!#)", text) == []
    plain = [
        name
        for name in links.ids
        if not re.match(r"(figure|axes|patch|line2d|text|matplotlib|xtick|ytick|Path|legend)", name, re.I)
    ]
    assert len(plain) == len(set(plain))
    assert page.stat().st_size < 1_000_000


def test_names_from_outside_are_escaped(document, one_plot):
    text = render_page({**document, "model": {**document["model"], "bundle": "<script>alert(1)</script>"}})
    assert "<script>" not in text


def test_an_interrupted_report_says_so_and_captions_of_missing_plots_name_the_option(document, monkeypatch):
    monkeypatch.setattr(plots, "_PLOTS", {name: plots._PLOTS[name] for name in ("plot-server", "plot-offline")})
    text = render_page({**document, "status": "incomplete", "server": None, "offline": None})
    assert '<span class="badge incomplete">incomplete</span>' in text
    assert "Not measured: add --scenario server." in text
    assert 'id="server"' not in text


def test_a_stored_report_of_an_earlier_version_is_rendered():
    """One of the first, which lacks fields that were added later."""
    stored = json.loads((Path(__file__).parents[3] / "studies/reports/amx/sst2/report.json").read_text())
    assert "attainable_speedup" not in stored["single_stream"]["systems"][0]
    few = ("int8", "onnxruntime", "onnxruntime-int8")  # drawing all takes seconds
    stored["families"] = [family for family in stored["families"] if family["name"] in few]
    for scenario in ("single_stream", "offline"):
        measured = stored[scenario]["systems"]
        stored[scenario]["systems"] = [system for system in measured if system["family"] in few]
    assert stored["verdict"]["text"] in html.unescape(render_page(stored))
