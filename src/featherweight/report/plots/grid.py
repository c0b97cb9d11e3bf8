"""Validation accuracy by temperature and alpha, as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.distilling import GridCell
from featherweight.report.plots._canvas import COLOURS, INK, axes_of, picture, say_nothing
from featherweight.report.words import percent, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def grid(cells: Sequence[GridCell], alone: float) -> str:
    """Draw the gain over the student alone by temperature (across) and alpha (up), as SVG.

    Blue is better than alone, orange worse; the strength goes with the points of accuracy. The best cell has
    a frame.

    Args:
        cells: validation accuracy each.
        alone: that of the student alone, 0..1.
    """
    rows = len({cell.alpha for cell in cells})
    return picture("grid", 1.2 + 0.62 * max(rows, 2), lambda figure: _draw(figure, cells, alone))


def _draw(figure: Figure, cells: Sequence[GridCell], alone: float) -> None:
    if not cells:
        return say_nothing(figure, "No cell was run.")
    axes = axes_of(figure)
    axes.grid(visible=False)
    temperatures = sorted({cell.temperature for cell in cells})
    alphas = sorted({cell.alpha for cell in cells})
    strongest = max(abs(cell.validation - alone) for cell in cells) or 1.0
    best = max(cells, key=lambda cell: cell.validation)
    for cell in cells:
        place = temperatures.index(cell.temperature), alphas.index(cell.alpha)
        _cell(axes, place, cell, alone, strength=abs(cell.validation - alone) / strongest)
        if cell is best:
            _frame(axes, place)
    axes.set_xticks(range(len(temperatures)), [f"{value:g}" for value in temperatures])
    axes.set_yticks(range(len(alphas)), [f"{value:g}" for value in alphas])
    axes.set_xlim(-0.5, len(temperatures) - 0.5)
    axes.set_ylim(-0.5, len(alphas) - 0.5)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("temperature")
    axes.set_ylabel("alpha, share of the teacher")
    axes.set_title(
        f"blue: better than the student alone ({percent(alone)}), orange: worse; framed: the best",
        loc="left",
        fontsize=9,
    )


def _cell(axes: Axes, place: tuple[int, int], cell: GridCell, alone: float, strength: float) -> None:
    from matplotlib.patches import Rectangle

    across, up = place
    colour = COLOURS[0] if cell.validation >= alone else COLOURS[1]
    # The ground shows through, so that words stay legible on a light and on a dark page.
    axes.add_patch(
        Rectangle((across - 0.47, up - 0.45), 0.94, 0.9, facecolor=colour, alpha=0.06 + 0.44 * strength)
    )
    words = f"{percent(cell.validation)}\n{points(alone, cell.validation)}"
    axes.text(across, up, words, ha="center", va="center", fontsize=9, color=INK, linespacing=1.3)


def _frame(axes: Axes, place: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    across, up = place
    axes.add_patch(Rectangle((across - 0.47, up - 0.45), 0.94, 0.9, fill=False, edgecolor=INK, linewidth=1.6))
