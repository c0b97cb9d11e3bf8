"""The page about a network with channels removed."""

from __future__ import annotations

from featherweight.report import plots
from featherweight.report.html import render
from featherweight.report.narrowing import (
    StructuredRecord,
    check_line,
    structured_lines,
    target_line,
    what_is_left,
)
from featherweight.report.words import faster, points, times_fewer


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
