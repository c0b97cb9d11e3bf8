"""What each layer keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.pieces import LayerSparsity
from featherweight.report.plots._canvas import COLOURS, INK, axes_of, beside, picture, say_nothing
from featherweight.report.words import percent, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 80  # rows


def layer_sparsity(layers: Sequence[LayerSparsity]) -> str:
    """Draw the weights that each layer keeps (%), in the order of the network, as SVG.

    Of more than 80 layers the first 80 are drawn; the dotted line is the mean over all weights of all layers.
    """
    row = 0.3 if len(layers) <= 20 else 0.21
    height = 1.15 + row * max(len(layers[:MOST]), 2)
    return picture("layers", height, lambda figure: _draw(figure, layers))


def _draw(figure: Figure, layers: Sequence[LayerSparsity]) -> None:
    if not layers:
        return say_nothing(figure, "No layer was pruned.")
    shown, size = layers[:MOST], 9 if len(layers) <= 20 else 8
    axes = axes_of(figure, grid="x")
    places = range(len(shown))
    axes.barh(places, [100 * layer.fraction for layer in shown], color=COLOURS[0], height=0.72)
    for place, layer in enumerate(shown):
        words = f"{percent(layer.fraction, 1)}: {layer.kept:,} of {layer.numel:,}"
        beside(axes, 100 * layer.fraction, place, words, size)
    axes.set_yticks(places, [shortened(layer.name, 34) for layer in shown], fontsize=size)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 100 * max(0.05, *(layer.fraction for layer in shown)))
    mean = sum(layer.kept for layer in layers) / sum(layer.numel for layer in layers)
    axes.axvline(100 * mean, color=INK, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    axes.set_title(
        f"dotted: {percent(mean, 1)} of the weights of all layers together", loc="left", fontsize=9
    )
    more = f"; the first {MOST} of {len(layers)} layers" if len(layers) > MOST else ""
    axes.set_xlabel(f"weights of the layer that remain (%){more}")
