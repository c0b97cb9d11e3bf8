"""Pictures of the runtime's records, as SVG in the style of featherweight's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from featherweight.report.plots._canvas import COLOURS, FAINT, INK, beside, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = dict[str, Any]


def layers(record: Record) -> str:
    """Draw where the time of a network goes.

    Above, the run from left to right: each step as wide as it took, as high as its share of the peak, so that
    the coloured area is what the arithmetic would have taken at the peak. Below, the sums.
    """
    return picture("layers of the runtime", 2.9 + 0.26 * len(record["groups"]), partial(_layers, record))


def speedup(records: Sequence[Record]) -> str:
    """Draw the faster dense engine's time over ours against sparsity: a line a network, a panel a setting."""
    settings = sorted({(r["threads"], r["batch"]) for r in records})
    rows = -(-len(settings) // 2)
    return picture("speedup of the runtime", 0.8 + 2.5 * rows, partial(_speedup, records, settings))


def _colours(record: Record) -> dict[str, str]:
    """Return a colour for each group that multiplies; the others are grey."""
    titles = [group["group"] for group in record["groups"] if group["macs_done"]]
    return dict(zip(titles, COLOURS, strict=False))


def _layers(record: Record, figure: Figure) -> None:
    colours, groups = _colours(record), record["groups"]
    above, below = figure.subplots(2, 1, height_ratios=[2.2, 0.3 + 0.26 * len(groups)])
    begin = 0.0
    for row in record["rows"]:
        share, colour = 100 * (row["share_of_peak"] or 0), colours.get(row["group"], INK)
        above.bar(
            begin, share or 2, width=row["milliseconds"], align="edge", color=colour if share else FAINT
        )
        begin += row["milliseconds"]
    above.set_xlim(0, begin)
    above.set_ylim(0, 100)
    above.set_xlabel("milliseconds from the beginning of a run; grey: no multiplications")
    above.set_ylabel("share of the peak (%)")
    _sums(below, record, colours)


def _sums(axes: Axes, record: Record, colours: dict[str, str]) -> None:
    groups, whole = record["groups"], record["all"]["milliseconds"]
    axes.grid(visible=False, axis="y")
    for place, group in enumerate(groups):
        ms, share = group["milliseconds"], group["share_of_peak"]
        axes.barh(place, ms, height=0.72, color=colours.get(group["group"], FAINT))
        peak = f", at {share:.0%} of the peak" if share else ""
        beside(axes, ms, place, f"{ms:.3g} ms, {ms / whole:.1%}{peak}", 9)
    axes.set_yticks(range(len(groups)), [group["group"] for group in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlim(0, 1.65 * max(group["milliseconds"] for group in groups))


def _speedup(records: Sequence[Record], settings: list[tuple[int, int]], figure: Figure) -> None:
    from matplotlib.lines import Line2D

    rows, columns = -(-len(settings) // 2), min(2, len(settings))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    networks = list(dict.fromkeys(r["network"] for r in records))
    for (threads, batch), axes in zip(settings, panels, strict=False):
        for network, colour in zip(networks, COLOURS, strict=False):
            points = sorted(
                (100 * r["sparsity"], r["ratio"])
                for r in records
                if (r["network"], r["threads"], r["batch"]) == (network, threads, batch)
            )
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour) if points else None
        axes.axhline(1, color=INK, linewidth=1, linestyle=(0, (2, 3)))
        axes.set_title(f"batch {batch}, {threads} thread{'s' * (threads > 1)}", loc="left")
        axes.set_ylim(bottom=0)
    figure.supxlabel("zeros (%)", fontsize=10)
    figure.supylabel("times faster", fontsize=10)
    handles = [
        Line2D([], [], color=c, marker="o", markersize=4) for _, c in zip(networks, COLOURS, strict=False)
    ]
    figure.legend(handles, networks, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
