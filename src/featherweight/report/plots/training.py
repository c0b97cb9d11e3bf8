"""Validation accuracy epoch by epoch, of runs that are compared."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.distilling import DISTILLED, Training
from featherweight.report.plots._canvas import COLOURS, INK, axes_of, picture, say_nothing
from featherweight.report.plots._lines import MARKERS, name_lines
from featherweight.report.words import percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKED = 40  # epochs above which single points are not marked
_LABEL = 0.14  # height of a label, as a fraction of the axes


def training(runs: Sequence[Training], teacher: float | None = None) -> str:
    """Draw accuracy on the validation split (%) against epochs, a line a run, as SVG.

    Args:
        runs: each with its name and its best epoch written beside it.
        teacher: accuracy of the teacher on the same split, a dotted line.
    """
    return picture("training", 3.8, lambda figure: _draw(figure, runs, teacher))


def _draw(figure: Figure, runs: Sequence[Training], teacher: float | None) -> None:
    if not runs:
        return say_nothing(figure, "Nothing was trained.")
    axes = axes_of(figure)
    for run, colour, marker in zip(runs, _colours(runs), itertools.cycle(MARKERS), strict=False):
        epochs = range(1, len(run.validation) + 1)
        mark = marker if len(run.validation) <= _MARKED else ""
        values = [100 * value for value in run.validation]
        axes.plot(epochs, values, color=colour, marker=mark, markersize=5, linewidth=2, clip_on=False)
    if teacher is not None:
        axes.axhline(100 * teacher, color=INK, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        axes.set_title(f"dotted: the teacher, {percent(teacher)}", loc="left", fontsize=9)
    _axes(axes, runs, teacher)
    _labels(axes, runs)


def _colours(runs: Sequence[Training]) -> list[str]:
    """Return a colour a run: a distilled student has the same in all pictures, alone in one or not."""
    return [COLOURS[(place + (runs[0].label == DISTILLED)) % len(COLOURS)] for place in range(len(runs))]


def _axes(axes: Axes, runs: Sequence[Training], teacher: float | None) -> None:
    from matplotlib.ticker import MaxNLocator

    values = [100 * value for run in runs for value in run.validation]
    values += [] if teacher is None else [100 * teacher]
    room = 0.08 * (max(values) - min(values)) or 1.0
    axes.set_ylim(min(values) - room, max(values) + room)
    most = max(len(run.validation) for run in runs)
    axes.set_xlim(0.5 if most == 1 else 1, 1.5 if most == 1 else most)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epochs")
    axes.set_ylabel("validation accuracy (%)")


def _labels(axes: Axes, runs: Sequence[Training]) -> None:
    """Write each run's name to the right of the axes, at its last point's height where there is room."""
    ends = [(len(run.validation), 100 * run.validation[-1]) for run in runs]
    name_lines(axes, ends, [_name(run) for run in runs], _LABEL, _colours(runs))


def _name(run: Training) -> str:
    best = max(run.validation)
    return f"{shortened(run.label, 28)}\nbest {percent(best)}, epoch {run.validation.index(best) + 1}"
