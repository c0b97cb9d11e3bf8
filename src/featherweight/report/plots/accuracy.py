"""Accuracy against the weights that remain."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.pieces import Curve
from featherweight.report.plots._canvas import COLOURS, INK, axes_of, picture, say_nothing, spread
from featherweight.report.words import percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP"
_TICKS = [100 / 10**power / part for power in range(6) for part in (1, 2, 5)]  # 100, 50, 20, 10, ...
_LABEL = 0.17  # height of a label, as a fraction of the axes


def accuracy_against_weights(curves: Sequence[Curve], target: float | None = None) -> str:
    """Draw accuracy (%) against the prunable weights that remain (%, log axis, from dense to sparse), as SVG.

    Args:
        curves: a line each, with its name and its last point written beside it. A point without any weights
            is drawn at the end of the axis, at "0".
        target: sparsity to mark, 0..1.
    """
    drawn = [curve for curve in curves if curve.kept]
    return picture("accuracy", 4.3, lambda figure: _draw(figure, drawn, target))


def _draw(figure: Figure, curves: Sequence[Curve], target: float | None) -> None:
    if not curves:
        return say_nothing(figure, "No accuracy was measured.")
    axes = axes_of(figure)
    nothing = _weights_axis(axes, [kept for curve in curves for kept in curve.kept])
    _accuracy_axis(axes, [value for curve in curves for value in curve.accuracy])
    for curve, colour, marker in zip(
        curves, itertools.cycle(COLOURS), itertools.cycle(_MARKERS), strict=False
    ):
        kept, accuracy = _points(curve, nothing)
        axes.plot(kept, accuracy, color=colour, marker=marker, markersize=5, linewidth=2)
    _labels(axes, curves, nothing)
    if target is not None and target < 1:
        axes.axvline(100 * (1 - target), color=INK, linewidth=1, linestyle=(0, (2, 3)), zorder=1)


def _points(curve: Curve, nothing: float) -> tuple[list[float], list[float]]:
    """Return the points in %, from dense to sparse; in the order they were measured where equally sparse."""
    points = sorted(zip(curve.kept, curve.accuracy, strict=True), key=lambda point: -point[0])
    return [100 * kept or nothing for kept, _ in points], [100 * accuracy for _, accuracy in points]


def _weights_axis(axes: Axes, kept: Sequence[float]) -> float:
    """Set up the axis; return the place of a point without any weights, in % of weights."""
    least = min([100 * value for value in kept if value > 0], default=100.0)
    nothing = least / 2
    ticks = [tick for tick in _TICKS if tick >= least / 1.2]
    names = [f"{tick:g}" for tick in ticks]
    if min(kept) == 0:
        ticks, names = [*ticks, nothing], [*names, "0"]
    axes.set_xscale("log")
    axes.set_xticks(ticks, names)
    axes.set_xticks([], minor=True)
    axes.set_xlim(115, min(0.9 * least, *ticks, 80) / 1.05)
    axes.set_xlabel("prunable weights that remain (%, log scale)")
    return nothing


def _accuracy_axis(axes: Axes, accuracy: Sequence[float]) -> None:
    lowest, highest = 100 * min(accuracy), 100 * max(accuracy)
    bottom = 0 if lowest < 50 else 5 * math.floor((lowest - 1) / 5)
    axes.set_ylim(bottom, min(5 * math.ceil((highest + 1) / 5), 102))
    axes.set_ylabel("accuracy (%)")


def _labels(axes: Axes, curves: Sequence[Curve], nothing: float) -> None:
    """Write each curve's name to the right of the axes, at its last point's height where there is room."""
    low, high = axes.get_ylim()
    ends = [(_points(curve, nothing)[0][-1], _points(curve, nothing)[1][-1]) for curve in curves]
    heights = spread([(y - low) / (high - low) for _, y in ends], _LABEL)
    for curve, end, height, colour in zip(curves, ends, heights, itertools.cycle(COLOURS), strict=False):
        lines = textwrap.wrap(shortened(curve.label, 60), 24, break_on_hyphens=False)
        last = f"{percent(end[1] / 100, 1)} at {100 * min(curve.kept):.3g}% of weights"
        axes.annotate(
            "\n".join([*lines, last]),
            end,
            (1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "linestyle": ":"},
        )
