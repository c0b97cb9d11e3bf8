"""Accuracy against the weights that are left: the figure of the lottery ticket hypothesis.

After figure 1 and 3 of Frankle, Carbin 2019 (https://arxiv.org/abs/1803.03635).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.lottery import LotteryCurve
from featherweight.report.plots._canvas import COLOURS, GROUND, INK, axes_of, picture, say_nothing
from featherweight.report.plots._lines import MARKERS, last_point, name_lines, weights_axis
from featherweight.report.words import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABEL = 0.15  # height of a label, as a fraction of the axes


def lottery(
    curves: Sequence[LotteryCurve],
    dense: Sequence[float],
    parts_at: float | None = None,
    split: str = "test",
) -> str:
    """Draw accuracy (%) against the weights left (%, log axis, fewer to the right), a line a branch, as SVG.

    Lines are means over seeds, bands reach from the lowest to the highest; every line begins at the dense
    network, which is dotted.

    Args:
        curves: of the branches, each with its name and last point written beside it.
        dense: accuracies of the dense network, 0..1, from all seeds.
        parts_at: fraction of the weights to mark: where ticket and random re-initialisation part.
        split: what the accuracy is of.
    """
    drawn = [curve for curve in curves if curve.remaining]
    return picture("lottery", 4.5, lambda figure: _draw(figure, drawn, dense, parts_at, split))


def _draw(
    figure: Figure, curves: Sequence[LotteryCurve], dense: Sequence[float], parts_at: float | None, split: str
) -> None:
    if not curves:
        return say_nothing(figure, "No sparse network was trained.")
    axes = axes_of(figure)
    for curve, colour, marker in zip(
        curves, itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False
    ):
        _line(axes, curve, dense, colour, marker)
    mean = 100 * sum(dense) / len(dense)
    axes.axhline(mean, color=INK, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    axes.set_title(f"dotted: the dense network, {percent(mean / 100)}", loc="left", fontsize=9)
    least = 100 * min(value for curve in curves for value in curve.remaining if value > 0)
    weights_axis(axes, least, "prunable weights that are left")
    _accuracy_axis(axes, curves, dense, split)
    ends = [(100 * curve.remaining[-1], 100 * curve.means[-1]) for curve in curves]
    names = [last_point(curve.title, y, x) for curve, (x, y) in zip(curves, ends, strict=True)]
    name_lines(axes, ends, names, _LABEL)
    if parts_at is not None:
        _mark(axes, parts_at)


def _line(axes: Axes, curve: LotteryCurve, dense: Sequence[float], colour: str, marker: str) -> None:
    left = [100.0, *(100 * value for value in curve.remaining)]
    values = [tuple(dense), *curve.values]
    low, high = ([100 * end(seeds) for seeds in values] for end in (min, max))
    axes.fill_between(left, low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)
    means = [100 * sum(seeds) / len(seeds) for seeds in values]
    axes.plot(left, means, color=colour, marker=marker, markersize=4, linewidth=1.8, zorder=3)


def _accuracy_axis(axes: Axes, curves: Sequence[LotteryCurve], dense: Sequence[float], split: str) -> None:
    values = [100 * value for curve in curves for seeds in curve.values for value in seeds]
    values += [100 * value for value in dense]
    room = 0.06 * (max(values) - min(values)) or 1.0
    axes.set_ylim(min(values) - room, min(max(values) + room, 100 + room))
    axes.set_ylabel(f"{split} accuracy (%)")


def _mark(axes: Axes, parts_at: float) -> None:
    low, high = axes.get_ylim()
    leftmost = parts_at > 0.5  # no room for the words to the left of the line
    axes.axvline(100 * parts_at, color=INK, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    axes.annotate(
        f"ticket and random\nre-initialisation\npart at {percent(parts_at, 1)}",
        (100 * parts_at, low + 0.03 * (high - low)),
        (4 if leftmost else -4, 0),
        textcoords="offset points",
        ha="left" if leftmost else "right",
        va="bottom",
        fontsize=8,
        bbox={"facecolor": GROUND, "edgecolor": "none", "pad": 0.5},
        zorder=4,
    )
