"""The pages about networks with channels removed, and about what each width is worth."""

from __future__ import annotations

from dataclasses import dataclass

from featherweight.report import _check, plots
from featherweight.report.html import render
from featherweight.report.narrowing import (
    StructuredRecord,
    check_line,
    structured_lines,
    target_line,
    what_is_left,
)
from featherweight.report.pieces import WidthCurve
from featherweight.report.words import faster, percent, points, times_fewer


@dataclass(frozen=True)
class SensitivityRecord:
    """What a scan of each group's width found.

    Attributes:
        model: as it was asked for.
        metric: what a score is; "accuracy" is in 0..1.
        whole: score of the network as it is.
        examples: that every score was measured on.
        criterion: by which the units that go were chosen.
        keeps: fractions of the units that were kept.
        curves: a group each, with as many points as there are ``keeps``.
        skipped: groups that were left alone on request.

    Raises:
        SettingError: a group has another number of points, or there is no example.
    """

    model: str
    metric: str
    whole: float
    examples: int
    criterion: str
    keeps: tuple[float, ...]
    curves: tuple[WidthCurve, ...]
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check.count("examples", self.examples, 1)
        for curve in self.curves:
            _check.same_length(f"keeps and points of group {curve.name!r}", len(self.keeps), len(curve.kept))


def structured_page(record: StructuredRecord) -> str:
    """Return the report of structured pruning as an HTML page; needs matplotlib and jinja2.

    Raises:
        ModuleNotFoundError: they are not installed; ``featherweight[torch]`` brings them.
    """
    pictures = {"widths": plots.widths(record.widths, "units of the group")}
    if record.steps:
        pictures["steps"] = plots.steps(record.steps, what_is_left(record), record.validation_before)
    return render(
        "structured.html",
        pictures,
        record=record,
        headlines=_headlines(record),
        lines=structured_lines(record),
        target=target_line(record),
        what=what_is_left(record),
        check=check_line(record),
    )


def sensitivity_page(record: SensitivityRecord) -> str:
    """Return the report of a scan as an HTML page; needs matplotlib and jinja2.

    Raises:
        ModuleNotFoundError: they are not installed; ``featherweight[torch]`` brings them.
    """
    picture = plots.sensitivity(record.curves, record.whole, record.metric)
    shown = percent if record.metric == "accuracy" else "{:.4g}".format
    return render(
        "sensitivity.html",
        {"sensitivity": picture},
        record=record,
        shown=shown,
    )


def _headlines(record: StructuredRecord) -> list[tuple[str, str]]:
    """Return the figures at the top of the page, each with the name of its axis."""
    times, word = faster(record.times[0].median, record.times[1].median).split(" ")
    found = [
        (times_fewer(*record.params), "fewer parameters"),
        (times_fewer(*record.macs), "fewer MACs"),
        (times, f"{word} in PyTorch (milliseconds)"),
        (times_fewer(record.bytes_dense, record.bytes_compact), "fewer bytes on disk"),
    ]
    if record.accuracy is not None:
        change = points(*record.accuracy).removesuffix(" points")
        found.append((change, f"points of accuracy on {record.examples:,} examples ({record.split})"))
    return found
