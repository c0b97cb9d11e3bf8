"""The weights of the layers, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.pieces import Histogram
from featherweight.report.plots._canvas import COLOURS, INK, picture, say_nothing
from featherweight.report.words import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12  # small pictures
_COLUMNS, _EMPTY = 3, 0.7  # a bin without weights is drawn here, below one weight: the axis is logarithmic


def weight_histograms(histograms: Sequence[Histogram]) -> str:
    """Draw how many weights have which value, before (grey) and after (blue), on a log axis, as SVG.

    Of more than 12 layers those with the most weights are drawn, in the order of the network.
    """
    most = sorted(range(len(histograms)), key=lambda place: -sum(histograms[place].before))[:MOST]
    shown = [histograms[place] for place in sorted(most)]
    rows = max(1, -(-len(shown) // _COLUMNS))
    return picture("histograms", 0.5 + 2.1 * rows, lambda figure: _draw(figure, shown, rows))


def _draw(figure: Figure, histograms: Sequence[Histogram], rows: int) -> None:
    if not histograms:
        return say_nothing(figure, "No layer was pruned.")
    columns = min(_COLUMNS, len(histograms))
    for place, histogram in enumerate(histograms):
        axes = figure.add_subplot(rows, columns, place + 1)
        _one(axes, histogram)
        if place % columns == 0:
            axes.set_ylabel("weights (count, log)", fontsize=9)
        if place >= len(histograms) - columns:
            axes.set_xlabel("value of the weight", fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False, fontsize=9)


def _one(axes: Axes, histogram: Histogram) -> None:
    from matplotlib.ticker import NullLocator

    before, after = ([max(n, _EMPTY) for n in counts] for counts in (histogram.before, histogram.after))
    axes.stairs(
        before, histogram.edges, baseline=_EMPTY, fill=True, color=INK, alpha=0.25, label="before pruning"
    )
    axes.stairs(
        after,
        histogram.edges,
        baseline=_EMPTY,
        fill=True,
        color=COLOURS[0],
        alpha=0.9,
        label="after pruning (zeros left out)",
    )
    axes.set_yscale("log")
    axes.set_ylim(_EMPTY, 2 * max(*before, *after, 5))
    axes.set_title(shortened(histogram.name, 28), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=5)
