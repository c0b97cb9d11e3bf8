"""Scores by layer and level, as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.pieces import WidthCurve
from featherweight.report.plots._canvas import COLOURS, INK, axes_of, picture, say_nothing
from featherweight.report.words import percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.27  # inches


def heat_map(
    curves: Sequence[WidthCurve], levels: Sequence[float], whole: float, metric: str = "accuracy"
) -> str:
    """Draw the score of each layer (down) at each level of sparsity (across), as SVG.

    Orange is worse than the whole network, blue better; the strength goes with the difference.

    Args:
        curves: of all layers, a score for each level.
        levels: sparsities, rising, 0..1.
        whole: score of the whole network.
        metric: what a score is; "accuracy" is written in %.
    """
    height = 1.0 + _ROW * max(len(curves), 2)
    return picture("heat", height, lambda figure: _draw(figure, curves, levels, whole, metric))


def _draw(
    figure: Figure, curves: Sequence[WidthCurve], levels: Sequence[float], whole: float, metric: str
) -> None:
    if not curves or not levels:
        return say_nothing(figure, "No layer was pruned.")
    axes = axes_of(figure)
    axes.grid(visible=False)
    strongest = max(abs(score - whole) for curve in curves for score in curve.scores) or 1.0
    for down, curve in enumerate(curves):
        for across, score in enumerate(curve.scores):
            words = percent(score, 1) if metric == "accuracy" else f"{score:.3g}"
            _cell(axes, (across, down), words, (score - whole) / strongest)
    axes.set_xticks(range(len(levels)), [f"{100 * level:g}%" for level in levels])
    axes.set_yticks(range(len(curves)), [shortened(curve.name, 30) for curve in curves])
    axes.set_xlim(-0.5, len(levels) - 0.5)
    axes.set_ylim(len(curves) - 0.5, -0.5)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("zeros in the layer, all other layers whole")
    shown = percent(whole, 1) if metric == "accuracy" else f"{whole:.3g}"
    axes.set_title(f"orange: worse than the whole network ({shown}), blue: better", loc="left", fontsize=9)


def _cell(axes: Axes, place: tuple[int, int], words: str, change: float) -> None:
    from matplotlib.patches import Rectangle

    across, down = place
    colour = COLOURS[0] if change >= 0 else COLOURS[1]
    # The ground shows through, so that words stay legible on a light and on a dark page.
    strength = 0.05 + 0.6 * abs(change)
    axes.add_patch(
        Rectangle((across - 0.48, down - 0.46), 0.96, 0.92, facecolor=colour, alpha=strength, linewidth=0)
    )
    axes.text(across, down, words, ha="center", va="center_baseline", fontsize=8.5, color=INK)
