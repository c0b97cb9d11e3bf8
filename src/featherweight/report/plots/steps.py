"""Accuracy after each cut and after each fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featherweight.report.pieces import CutStep
from featherweight.report.plots._canvas import COLOURS, GROUND, INK, axes_of, picture, say_nothing
from featherweight.report.words import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def steps(cuts: Sequence[CutStep], what: str, before: float | None = None) -> str:
    """Draw for each step the accuracy after the cut (hollow) and after fine-tuning (full), as SVG.

    Args:
        cuts: in order.
        what: of which a step's ``left`` is the fraction, such as "macs".
        before: accuracy of the network before the first cut.
    """
    return picture("steps", 3.2, lambda figure: _draw(figure, cuts, what, before))


def _draw(figure: Figure, cuts: Sequence[CutStep], what: str, before: float | None) -> None:
    if not cuts:
        return say_nothing(figure, "Nothing was cut in steps.")
    axes = axes_of(figure, grid="y")
    places = list(range(1, len(cuts) + 1))
    cut, tuned = [100 * step.cut for step in cuts], [100 * step.tuned for step in cuts]
    if before is not None:
        axes.axhline(100 * before, color=INK, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        axes.set_title(f"dotted: {percent(before)} before the first cut", loc="left", fontsize=9)
    axes.vlines(places, cut, tuned, color=COLOURS[2], linewidth=2, zorder=2)
    common: dict[str, Any] = {"linestyle": "none", "markersize": 8, "clip_on": False, "zorder": 3}
    axes.plot(places, cut, marker="o", color=COLOURS[1], markerfacecolor=GROUND, markeredgewidth=2, **common)
    axes.plot(places, tuned, marker="o", color=COLOURS[2], **common)
    _words(axes, cuts)
    axes.set_xticks(places, [f"cut {n}\n{percent(step.left, 1)} of {what}" for n, step in enumerate(cuts, 1)])
    axes.set_xlim(0.5, len(cuts) + 0.8)
    values = [*cut, *tuned, *([] if before is None else [100 * before])]
    room = 0.12 * (max(values) - min(values)) or 1.0
    axes.set_ylim(min(values) - room, max(values) + room)
    axes.set_ylabel("accuracy (%)")


def _words(axes: Axes, cuts: Sequence[CutStep]) -> None:
    for place, step in enumerate(cuts, start=1):
        up = 6 if step.tuned >= step.cut else -6  # points, so that equal ones stay apart
        for value, colour, height in ((step.cut, COLOURS[1], -up), (step.tuned, COLOURS[2], up)):
            axes.annotate(
                percent(value, 1),
                (place, 100 * value),
                (10, height),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=colour,
                bbox={"facecolor": GROUND, "edgecolor": "none", "pad": 0.5},
            )
