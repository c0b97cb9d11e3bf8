"""Accuracy against the weights that remain."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.pieces import Curve
from featherweight.report.plots._canvas import COLOURS, INK, axes_of, picture, say_nothing
from featherweight.report.plots._lines import MARKERS, last_point, name_lines, weights_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    shares = [100 * kept for curve in curves for kept in curve.kept]
    least = min([share for share in shares if share > 0], default=100.0)
    weights_axis(axes, least, "prunable weights that remain", nothing=min(shares) == 0)
    _accuracy_axis(axes, [value for curve in curves for value in curve.accuracy])
    for curve, colour, marker in zip(
        curves, itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False
    ):
        kept, accuracy = _points(curve, least / 2)
        axes.plot(kept, accuracy, color=colour, marker=marker, markersize=5, linewidth=2)
    ends = [(kept[-1], accuracy[-1]) for kept, accuracy in (_points(curve, least / 2) for curve in curves)]
    names = [
        last_point(curve.label, y, 100 * min(curve.kept)) for curve, (_, y) in zip(curves, ends, strict=True)
    ]
    name_lines(axes, ends, names, _LABEL)
    if target is not None and target < 1:
        axes.axvline(100 * (1 - target), color=INK, linewidth=1, linestyle=(0, (2, 3)), zorder=1)


def _points(curve: Curve, nothing: float) -> tuple[list[float], list[float]]:
    """Return the points in %, from dense to sparse; in the order they were measured where equally sparse."""
    points = sorted(zip(curve.kept, curve.accuracy, strict=True), key=lambda point: -point[0])
    return [100 * kept or nothing for kept, _ in points], [100 * accuracy for _, accuracy in points]


def _accuracy_axis(axes: Axes, accuracy: Sequence[float]) -> None:
    lowest, highest = 100 * min(accuracy), 100 * max(accuracy)
    bottom = 0 if lowest < 50 else 5 * math.floor((lowest - 1) / 5)
    axes.set_ylim(bottom, min(5 * math.ceil((highest + 1) / 5), 102))
    axes.set_ylabel("accuracy (%)")
