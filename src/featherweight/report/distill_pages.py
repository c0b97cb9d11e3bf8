"""The pages about a student and its teacher, and about the grid of temperatures and alphas."""

from __future__ import annotations

from collections.abc import Sequence

from featherweight.report import plots
from featherweight.report.distilling import (
    DistillRecord,
    GridRecord,
    distill_rows,
    gain_line,
    measured_line,
)
from featherweight.report.html import render
from featherweight.report.words import faster, percent, points, times_fewer


def distill_page(record: DistillRecord) -> str:
    """Return the report of a distillation as an HTML page; needs matplotlib and jinja2.

    Raises:
        ModuleNotFoundError: they are not installed; ``featherweight[torch]`` brings them.
    """
    pictures = {
        "training": plots.training(record.runs, record.teacher_validation),
        "agreement": plots.agreement(record.classes),
    }
    return render(
        "distill.html",
        pictures,
        record=record,
        headlines=_headlines(record),
        rows=distill_rows(record),
        measured=measured_line(record),
        gain=gain_line(record),
        span=span,
    )


def grid_page(record: GridRecord) -> str:
    """Return the report of a grid as an HTML page; needs matplotlib and jinja2.

    Raises:
        ModuleNotFoundError: they are not installed; ``featherweight[torch]`` brings them.
    """
    return render("grid.html", {"grid": plots.grid(record.cells, record.alone)}, record=record)


def span(values: Sequence[float] | None) -> str:
    """Return a number, or where a setting goes from one to another."""
    if values is None:
        return "that of the loss"
    first, last = values[0], values[-1]
    return f"{first:g}" if first == last else f"from {first:g} to {last:g}"


def _headlines(record: DistillRecord) -> list[tuple[str, str]]:
    """Return the figures at the top of the page, each with the name of its axis."""
    times, word = faster(record.teacher_ms.median, record.student_ms.median).split(" ")
    found = [
        (percent(record.student_distilled_accuracy), f"accuracy on {record.examples:,} examples"),
        (times_fewer(record.teacher_params, record.student_params), "fewer parameters than the teacher"),
        (times, f"{word} than the teacher in PyTorch (milliseconds)"),
        (percent(record.student_distilled_agreement, 1), "of its answers are the teacher's"),
    ]
    if record.student_alone_accuracy is not None:
        change = points(record.student_alone_accuracy, record.student_distilled_accuracy)
        found.insert(1, (change.removesuffix(" points"), "points of accuracy against the student alone"))
    return found
