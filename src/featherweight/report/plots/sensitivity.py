"""Accuracy against the width of each group, or the density of each layer, all others whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.pieces import WidthCurve
from featherweight.report.plots._canvas import COLOURS, INK, axes_of, picture, say_nothing
from featherweight.report.plots._lines import MARKERS, name_lines
from featherweight.report.words import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OF_GROUPS, OF_LAYERS = ("units", "group"), ("weights", "layer")
LABELLED = len(COLOURS)  # curves with a colour and a name; the others are grey
_LABEL = 0.09  # height of a label, as a fraction of the axes
_BACKGROUND = "#7d8590"


def sensitivity(
    curves: Sequence[WidthCurve], whole: float, metric: str = "accuracy", what: tuple[str, str] = OF_GROUPS
) -> str:
    """Draw a curve a group, from whole to narrow, as SVG; the six that fall most have a name and a colour.

    Args:
        curves: of all groups.
        whole: score of the network with all groups whole, where every curve begins.
        metric: what a score is; "accuracy" is drawn in %.
        what: what goes, and of what: units of a group; or weights of a layer, drawn on a log axis, as most
            layers fall late.
    """
    drawn = [curve for curve in curves if curve.kept]
    return picture("sensitivity", 4.3, lambda figure: _draw(figure, drawn, whole, metric, what))


def _draw(
    figure: Figure, curves: Sequence[WidthCurve], whole: float, metric: str, what: tuple[str, str]
) -> None:
    if not curves:
        return say_nothing(figure, f"No {what[1]} was cut.")
    axes = axes_of(figure)
    scale = 100 if metric == "accuracy" else 1
    order = sorted(curves, key=lambda curve: sum(curve.scores) / len(curve.scores))
    worst, others = order[:LABELLED], order[LABELLED:]
    for curve in others:
        axes.plot(*_points(curve, whole, scale), color=_BACKGROUND, linewidth=1, alpha=0.45, zorder=2)
    for curve, colour, marker in zip(worst, COLOURS, MARKERS, strict=False):
        axes.plot(*_points(curve, whole, scale), color=colour, marker=marker, markersize=5, linewidth=2)
    _axes(axes, curves, [scale * whole, *(scale * score for curve in curves for score in curve.scores)])
    if what == OF_LAYERS:
        _log_axis(axes, 100 * min(min(curve.kept) for curve in curves))
    axes.set_xlabel(f"{what[0]} of the {what[1]} that are kept (%), all other {what[1]}s whole")
    axes.axhline(scale * whole, color=INK, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    axes.set_ylabel("accuracy (%)" if scale == 100 else metric)
    if others:
        axes.set_title(f"grey: the other {len(others)} {what[1]}s, which fall less", loc="left", fontsize=9)
    ends = [(100 * min(c.kept), scale * min(zip(c.kept, c.scores, strict=True))[1]) for c in worst]
    names = [f"{shortened(curve.name, 26)}\n{curve.units:,} {what[0]}" for curve in worst]
    name_lines(axes, ends, names, _LABEL)


def _points(curve: WidthCurve, whole: float, scale: float) -> tuple[list[float], list[float]]:
    """Return fractions kept (%) and scores, from the whole group to the narrowest."""
    points = sorted(zip(curve.kept, curve.scores, strict=True), reverse=True)
    return [100, *(100 * kept for kept, _ in points)], [
        scale * whole,
        *(scale * score for _, score in points),
    ]


def _axes(axes: Axes, curves: Sequence[WidthCurve], scores: Sequence[float]) -> None:
    low, high = min(scores), max(scores)
    room = 0.05 * (high - low) or 1.0
    axes.set_ylim(max(low - room, 0) if low >= 0 else low - room, high + room)
    narrowest = 100 * min(min(curve.kept) for curve in curves)
    axes.set_xlim(103, math.floor(narrowest) - 2)


def _log_axis(axes: Axes, narrowest: float) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(115, 0.85 * narrowest)
    ticks = [number * 10.0**power for power in range(2, -4, -1) for number in (5, 2, 1)]
    shown = [tick for tick in ticks if 0.85 * narrowest <= tick <= 100]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
