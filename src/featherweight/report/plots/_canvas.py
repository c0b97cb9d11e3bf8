"""The one style of all pictures, and how they become SVG.

Figures are matplotlib's own objects, not pyplot's: nothing is left behind. Colours are Okabe and Ito's,
which people with any colour vision can tell apart. The page
replaces every colour by that of its scheme, so that a picture is as legible on a dark ground.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, FAINT, GROUND = "#1f2430", "#d3d7de", "#fdfdfe"
WIDTH = 7.6  # inches

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.parse_math": False,  # a name may have dollar signs in it
    "text.usetex": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
}


def picture(name: str, height: float, draw: Callable[[Figure], None]) -> str:
    """Return what ``draw`` draws, as SVG; the same input gives the same text.

    Args:
        name: of the picture; keeps its ids apart from those of other pictures in one page.
        height: in inches.
        draw: draws on the empty figure that it is given.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = _STYLE | {"svg.hashsalt": name}
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's font may have it
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure)
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    return _for_a_page(text.getvalue())


def axes_of(figure: Figure, grid: str = "both") -> Axes:
    """Return the only axes of ``figure``, with grid lines along "x", "y" or "both"."""
    axes = figure.add_subplot()
    if grid != "both":
        axes.grid(visible=False, axis="y" if grid == "x" else "x")
    return axes


def beside(axes: Axes, length: float, place: float, words: str, size: float) -> None:
    """Write ``words`` at the end of a bar of ``length``, over any line that is there."""
    axes.annotate(
        words,
        (length, place),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontsize=size,
        bbox={"facecolor": GROUND, "edgecolor": "none", "pad": 0.5},
    )


def say_nothing(figure: Figure, words: str) -> None:
    """Draw ``words`` where there is nothing to draw."""
    figure.text(0.5, 0.5, words, ha="center", va="center")


def spread(heights: Sequence[float], label: float) -> list[float]:
    """Return heights (0..1) moved apart so that labels do not cover each other, in the same order."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    placed: list[float] = []
    for place in order:
        lowest = placed[-1] + label if placed else 0.04
        placed.append(max(heights[place], lowest))
    over = max(0.0, placed[-1] - 0.97)
    while over > 0 and placed:  # too high: push down from the top, as far as there is room
        placed[-1] -= over
        for index in range(len(placed) - 2, -1, -1):
            placed[index] = min(placed[index], placed[index + 1] - label)
        over = 0
    return [placed[order.index(place)] for place in range(len(heights))]


def _for_a_page(svg: str) -> str:
    """Drop what is wrong inside a page: the prolog, a style for the whole page, ids that are not unique."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    return svg.replace("<svg ", '<svg style="stroke-linejoin: round; stroke-linecap: butt" ', 1)
