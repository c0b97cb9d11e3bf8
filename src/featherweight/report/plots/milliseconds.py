"""How long networks take, beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featherweight.report.plots._canvas import COLOURS, INK, axes_of, beside, picture
from featherweight.report.words import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def milliseconds(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Draw the median of each network with its quartiles, a group for each number of threads, as SVG.

    Args:
        comparisons: as ``featherweight bench`` records them.
    """
    bars = sum(len(one["rows"]) + 1 for one in comparisons)
    return picture("milliseconds", 0.8 + 0.3 * bars, lambda figure: _draw(figure, comparisons))


def _draw(figure: Figure, comparisons: Sequence[Mapping[str, Any]]) -> None:
    axes = axes_of(figure, grid="x")
    place, ticks, names = 0.0, list[float](), list[str]()
    longest = max(row["milliseconds"]["high"] for one in comparisons for row in one["rows"])
    for one in comparisons:
        for number, row in enumerate(one["rows"]):
            ms = row["milliseconds"]
            axes.barh(place, ms["median"], height=0.72, color=COLOURS[0 if number == 0 else 1])
            axes.plot([ms["low"], ms["high"]], [place, place], color=INK, linewidth=2)
            times = "" if number == 0 else f", {row['ratio']:.2f}x"
            beside(axes, ms["high"], place, f"{ms['median']:.3g} ms{times}", 9)
            ticks.append(place)
            names.append(f"{shortened(row['side'], 34)}, {one['threads']} thr.")
            place += 1
        place += 0.6
    axes.set_yticks(ticks, names, fontsize=9)
    axes.set_ylim(place - 0.9, -0.6)
    axes.set_xlim(0, 1.25 * longest)
    axes.set_xlabel("milliseconds: median, and quartiles as a line")
