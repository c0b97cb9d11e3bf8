"""How often a student gives its teacher's answer, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherweight.report.distilling import ClassAgreement
from featherweight.report.plots._canvas import COLOURS, axes_of, beside, picture, say_nothing
from featherweight.report.words import percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 40  # classes
_ROOM = 0.14  # to the right of the longest bar, for its words, as a fraction of the axis


def agreement(classes: Sequence[ClassAgreement]) -> str:
    """Draw for each class how often the student says what the teacher says (%), as SVG.

    Args:
        classes: in their order; of more than 40 those with the least agreement are drawn.
    """
    shown = len(classes[:MOST])
    row = 0.5 if any(c.alone is not None for c in classes) else 0.3
    return picture("agreement", 1.1 + row * max(shown, 2), lambda figure: _draw(figure, classes))


def _draw(figure: Figure, classes: Sequence[ClassAgreement]) -> None:
    if not classes:
        return say_nothing(figure, "Agreement was not measured by class.")
    shown = list(classes)
    if len(shown) > MOST:
        shown = sorted(shown, key=lambda c: c.distilled / c.examples)[:MOST]
    axes = axes_of(figure, grid="x")
    both = any(c.alone is not None for c in shown)
    if both:
        _bars(axes, shown, [c.alone for c in shown], colour=COLOURS[0], label="student alone", place=-0.19)
    _bars(
        axes,
        shown,
        [c.distilled for c in shown],
        colour=COLOURS[1],
        label="student distilled",
        place=0.19 * both,
    )
    axes.set_yticks(range(len(shown)), [shortened(c.name, 24) for c in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    _axis(axes, shown)
    more = f";\nthe {MOST} of {len(classes)} classes with the least" if len(classes) > MOST else ""
    axes.set_xlabel(f"examples of the class on which student and teacher agree (%){more}")
    if both:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9, borderaxespad=0.2
        )


def _bars(
    axes: Axes,
    shown: Sequence[ClassAgreement],
    counts: Sequence[int | None],
    *,
    colour: str,
    label: str,
    place: float,
) -> None:
    both = any(c.alone is not None for c in shown)
    shares = [0.0 if n is None else n / c.examples for n, c in zip(counts, shown, strict=True)]
    places = [index + place for index in range(len(shown))]
    height = 0.36 if both else 0.66
    axes.barh(places, [100 * share for share in shares], height=height, color=colour, label=label)
    for position, share in zip(places, shares, strict=True):
        beside(axes, 100 * share, position, percent(share, 1), 8)


def _axis(axes: Axes, shown: Sequence[ClassAgreement]) -> None:
    """Start at zero: the length of a bar is what is compared."""
    longest = max(max(c.distilled, c.alone or 0) / c.examples for c in shown)
    axes.set_xlim(0, 100 * max(longest, 0.05) * (1 + _ROOM))
    axes.set_xticks([tick for tick in range(0, 101, 20) if tick <= axes.get_xlim()[1]])
