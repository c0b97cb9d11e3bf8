"""What pictures of several lines share: the axis of weights, and names beside the last points."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.plots._canvas import COLOURS, spread
from featherweight.report.words import percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vP"
_TICKS = [100 / 10**power / part for power in range(6) for part in (1, 2, 5)]  # 100, 50, 20, 10, ...


def weights_axis(axes: Axes, least: float, words: str, *, nothing: bool = False) -> None:
    """Set up a log axis of the weights that are left, in %, fewer to the right.

    Args:
        axes: whose x axis it is.
        least: the smallest share above zero, %.
        words: what is left.
        nothing: whether there is a point without any weights, which is drawn at half of ``least``, as "0".
    """
    ticks = [tick for tick in _TICKS if tick >= least / 1.2]
    names = [f"{tick:g}" for tick in ticks]
    if nothing:
        ticks, names = [*ticks, least / 2], [*names, "0"]
    axes.set_xscale("log")
    axes.set_xticks(ticks, names)
    axes.set_xticks([], minor=True)
    axes.set_xlim(112, min(0.95 * least, *ticks, 80) / 1.05)
    axes.set_xlabel(f"{words} (%, log scale)")


def last_point(title: str, accuracy: float, left: float) -> str:
    """Return the name of a line and where it ends: accuracy and weights left, both in %."""
    lines = textwrap.wrap(shortened(title, 60), 24, break_on_hyphens=False)
    return "\n".join([*lines, f"{percent(accuracy / 100, 1)} at {left:.3g}% of weights"])


def name_lines(
    axes: Axes,
    ends: Sequence[tuple[float, float]],
    names: Sequence[str],
    height: float,
    colours: Sequence[str] = COLOURS,
) -> None:
    """Write each line's name to the right of the axes, at its last point's height where there is room.

    Args:
        axes: with its final limits.
        ends: the last point of each line.
        names: of as many.
        height: of a name, as a fraction of the axes.
        colours: of the lines, over and over.
    """
    low, high = axes.get_ylim()
    heights = spread([(y - low) / (high - low) for _, y in ends], height)
    for name, end, at, colour in zip(names, ends, heights, itertools.cycle(colours), strict=False):
        axes.annotate(
            name,
            end,
            (1.03, at),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "linestyle": ":"},
        )
