"""How the plots of a report look, and how a figure becomes SVG.

Colours: Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), which colour-blind readers can tell apart; markers
and labels carry the same information.
"""

import io
import logging
import re
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

_CHAIN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_OTHER_COLOURS = ("#333333", "#777777", "#E69F00", "#CC79A7", "#56B4E9", "#8B6F47", "#B8B000", "#999999")
_MARKERS = ("s", "D", "^", "v", "P", "X", "<", ">")
RIVAL_COLOUR = "#A3195B"
RIVAL_MARKERS = ("*", "p", "d", "^", "v")  # then the same, hollow
WIDTH_IN = 5.0  # 360 points: at a phone's width letters are still 9 px high
STYLE = {
    "font.size": 9.5,
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.parse_math": False,  # names may have any characters, $ too
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a939e",
    "axes.labelcolor": "#1c2733",
    "text.color": "#1c2733",
    "xtick.color": "#46525f",
    "ytick.color": "#46525f",
    "axes.grid": True,
    "grid.color": "#e4e8ed",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.constrained_layout.use": True,
}


class Look:
    """Colour, marker and title of every system."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.families = {family["name"]: family for family in document["families"]}
        chains = [name for name, family in self.families.items() if family["kind"] == "chain"]
        others = [name for name in self.families if name not in chains]
        self.chains = chains
        self.colours = {name: _CHAIN_COLOURS[index % 4] for index, name in enumerate(chains)}
        self.colours |= {name: _OTHER_COLOURS[index % 8] for index, name in enumerate(others)}
        self.markers = dict.fromkeys(chains, "o")
        self.markers |= {name: _MARKERS[index % 8] for index, name in enumerate(others)}

    def title(self, system: dict[str, Any]) -> str:
        """Return a title for a system at a speed."""
        title = self.families[system["family"]]["title"]
        return title if system["speed"] is None else f"{title}, speed {system['speed']:g}"


def legend_text(name: str) -> str:
    """Return a name for a legend, which would leave out one that begins with an underscore."""
    return f"\u200b{name}" if name.startswith("_") else name


def time_axis(axes: Axes, values: list[float], which: str, *, always_log: bool = False) -> None:
    """Make an axis of times logarithmic, if they span more than a factor of 4; label it with plain numbers."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    span = max(values) / min(values) if values else 1.0
    if span > (1.5 if always_log else 4):  # on less, logarithmic is as good as linear and has few round numbers
        (axes.set_xscale if which == "x" else axes.set_yscale)("log", subs=[2, 5] if span > 4 else range(2, 10))
        plain = FuncFormatter(lambda value, _: f"{value:g}")
        axis.set_major_formatter(plain)
        axis.set_minor_formatter(plain)
    else:
        axis.set_major_locator(MaxNLocator(6))


def svg_element(figure: Figure, label: str) -> str:
    """Return a figure as one ``<svg>`` element without width or height, so that it fills its container."""
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    fonts.setLevel(logging.ERROR)
    try:
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    finally:
        fonts.setLevel(level)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    opening = re.sub(r' (width|height)="[^"]*"', "", opening)
    return f'{opening} role="img" aria-label="{label}">{rest}'
