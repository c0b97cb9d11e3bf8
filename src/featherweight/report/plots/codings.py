"""Bytes of the same tensors under each way of writing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.pieces import CodingBytes
from featherweight.report.plots._canvas import COLOURS, axes_of, beside, picture, say_nothing
from featherweight.report.words import fewer, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def bytes_by_coding(codings: Sequence[CodingBytes]) -> str:
    """Draw the bytes under each coding, and how many times fewer they are than the first coding's, as SVG."""
    height = 0.8 + 0.36 * max(len(codings), 2)
    return picture("codings", height, lambda figure: _draw(figure, codings))


def _draw(figure: Figure, codings: Sequence[CodingBytes]) -> None:
    if not codings:
        return say_nothing(figure, "Nothing was written.")
    axes = axes_of(figure, grid="x")
    places, first = range(len(codings)), codings[0]
    unit, scale, digits = _unit(max(coding.bytes for coding in codings))
    axes.barh(places, [coding.bytes / scale for coding in codings], color=COLOURS[2], height=0.7)
    for place, coding in enumerate(codings):
        words = [f"{coding.bytes / scale:,.{digits}f} {unit}"]
        if coding is not first and first.bytes:
            words.append(fewer(first.bytes, coding.bytes, "bytes"))
        beside(axes, coding.bytes / scale, place, ", ".join(words), 9)
    axes.set_yticks(places, [shortened(coding.name, 34) for coding in codings])
    axes.set_ylim(len(codings) - 0.4, -0.6)
    axes.set_xlim(0, max(coding.bytes for coding in codings) / scale or 1)
    means = f" = {scale:,.0f} bytes" if scale > 1 else ""
    axes.set_xlabel(f"size of all tensors ({unit}{means}); fewer: than in {shortened(first.name, 18)}")


def _unit(most: int) -> tuple[str, float, int]:
    """Return the unit for sizes up to ``most`` bytes, its bytes, and how many decimals to show."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if most >= 10 * scale or most >= scale == 1e3:
            return unit, scale, 1
    return "bytes", 1.0, 0
