"""Pictures, each a function of records that returns an SVG string.

Drawn with matplotlib's figures, not pyplot, so that nothing global is touched. Colours are Okabe and
Ito's, which people with any colour vision can tell apart; the ground is transparent and text is grey
enough to be read on light and dark pages.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featherweight.report.records import CodingBytes, Curve, Histogram, LayerSparsity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, FAINT = "#808890", "#80889040"
MOST_LAYERS = 40


def accuracy_against_weights(curves: Sequence[Curve], target: float | None = None) -> str:
    """Draw accuracy in % against the prunable weights that are left, on a log axis.

    Args:
        curves: one line each.
        target: sparsity to mark, 0..1.
    """
    figure, axes = _figure(7.2, 4.2)
    for curve, colour, marker in zip(curves, _cycle(COLOURS), _cycle("osD^vP"), strict=False):
        points = sorted((k, a) for k, a in zip(curve.kept, curve.accuracy, strict=True) if k > 0)
        kept, accuracy = [100 * k for k, _ in points], [100 * a for _, a in points]
        axes.plot(kept, accuracy, color=colour, marker=marker, markersize=5, linewidth=2, label=curve.label)
    axes.set_xscale("log")
    _log_axis_of_weights(axes, [k for curve in curves for k in curve.kept if k > 0])
    if target is not None and target < 1:
        axes.axvline(100 * (1 - target), color=INK, linewidth=1, linestyle=":")
    axes.set_xlabel("prunable weights that are left (%, log)")
    axes.set_ylabel("accuracy (%)")
    axes.legend(frameon=False, labelcolor=INK, loc="lower left")
    return _svg(figure)


def _log_axis_of_weights(axes: Axes, kept: Sequence[float]) -> None:
    least = 100 * min(kept, default=0.01)
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if tick >= least * 0.8]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(110, least * 0.9)  # from dense, on the left, to sparse


def layer_sparsity(layers: Sequence[LayerSparsity]) -> str:
    """Draw the sparsity of each layer, in the order of the network, with the number of weights left."""
    shown = list(layers)[:MOST_LAYERS]
    figure, axes = _figure(7.2, 0.9 + 0.28 * max(len(shown), 3))
    places = range(len(shown))
    sparsity = [100 * (1 - layer.kept / layer.numel) if layer.numel else 0 for layer in shown]
    axes.barh(places, sparsity, color=COLOURS[0], height=0.7)
    for place, (layer, value) in enumerate(zip(shown, sparsity, strict=True)):
        words = f"{value:.1f}%  ({layer.kept:,} of {layer.numel:,} left)"
        axes.text(101, place, words, va="center", color=INK, fontsize=8)
    axes.set_yticks(places, [_short(layer.name) for layer in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    more = f", first {MOST_LAYERS} of {len(layers)} layers" if len(layers) > MOST_LAYERS else ""
    axes.set_xlabel(f"weights that are zero (%){more}")
    return _svg(figure)


def weight_histograms(histograms: Sequence[Histogram]) -> str:
    """Draw the weights of up to six layers before and after, zeros left out, counts on a log axis."""
    shown = list(histograms)[:6]
    columns = min(3, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    figure = _bare_figure(7.2, 2.3 * rows)
    for place, histogram in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        _style(axes)
        for counts, colour, label in (
            (histogram.before, FAINT, "before"),
            (histogram.after, COLOURS[1], "after"),
        ):
            axes.stairs(counts, histogram.edges, fill=True, color=colour, label=label)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_title(_short(histogram.name, 26), color=INK, fontsize=9)
        if place == 0:
            axes.legend(frameon=False, labelcolor=INK, fontsize=8)
        if place % columns == 0:
            axes.set_ylabel("weights", fontsize=8)
        if place >= len(shown) - columns:
            axes.set_xlabel("value", fontsize=8)
    return _svg(figure)


def bytes_by_coding(codings: Sequence[CodingBytes]) -> str:
    """Draw what the same pruned network takes in each way of writing it down, in kB."""
    figure, axes = _figure(7.2, 0.9 + 0.34 * max(len(codings), 2))
    sizes = [coding.bytes / 1000 for coding in codings]
    largest = max(sizes, default=1.0) or 1.0
    axes.barh(range(len(codings)), sizes, color=COLOURS[2], height=0.7)
    for place, size in enumerate(sizes):
        times = f", {largest / size:.1f}x fewer" if 0 < size < largest else ""
        axes.text(size + 0.01 * largest, place, f"{size:,.1f} kB{times}", va="center", color=INK, fontsize=8)
    axes.set_yticks(range(len(codings)), [_short(coding.name) for coding in codings])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.28 * largest)
    axes.set_xlabel("kB")
    return _svg(figure)


def _bare_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    FigureCanvasSVG(figure)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = _bare_figure(width, height)
    axes = figure.add_subplot()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(visible=True, color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context

    text = io.StringIO()
    # text as text (small, searchable, in the page's own font); ids that do not change from run to run
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "featherweight"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _cycle(items: Sequence[Any]) -> list[Any]:
    return [*items] * 8
