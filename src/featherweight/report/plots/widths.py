"""How wide each layer was and is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.pieces import Width
from featherweight.report.plots._canvas import COLOURS, INK, axes_of, beside, picture, say_nothing
from featherweight.report.words import percent, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 80  # rows
ROOMY = 20  # rows that are drawn large


def widths(rows: Sequence[Width], what: str = "outputs of the layer") -> str:
    """Draw the channels of each layer or group before (outline) and after (bar) structured pruning, as SVG.

    Args:
        rows: from input to output; of more than 80 the first 80 are drawn.
        what: what a width counts.
    """
    height = 0.9 + (0.3 if len(rows) <= ROOMY else 0.21) * max(len(rows[:MOST]), 2)
    return picture("widths", height, lambda figure: _draw(figure, rows, what))


def _draw(figure: Figure, rows: Sequence[Width], what: str) -> None:
    if not rows:
        return say_nothing(figure, "No layer got narrower.")
    shown, size = rows[:MOST], 9 if len(rows) <= ROOMY else 8
    axes = axes_of(figure, grid="x")
    places = range(len(shown))
    axes.barh(places, [row.before for row in shown], height=0.72, color="none", edgecolor=INK, linewidth=0.8)
    axes.barh(places, [row.after for row in shown], height=0.72, color=COLOURS[0])
    for place, row in enumerate(shown):
        words = f"{row.after:,} of {row.before:,}: {percent(row.after / row.before, 0)}"
        beside(axes, row.before, place, words, size)
    axes.set_yticks(places, [shortened(row.name, 34) for row in shown], fontsize=size)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1.22 * max(row.before for row in shown))  # room for the words
    more = f"; the first {MOST} of {len(rows)}" if len(rows) > MOST else ""
    axes.set_xlabel(f"{what}{more}")
