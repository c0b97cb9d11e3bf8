"""The page about a lottery experiment."""

from __future__ import annotations

from featherweight.report import plots
from featherweight.report.html import render
from featherweight.report.lottery import LotteryRecord, lottery_rows, measured_line


def lottery_page(record: LotteryRecord) -> str:
    """Return the report of an experiment as an HTML page; needs matplotlib and jinja2.

    Raises:
        ModuleNotFoundError: they are not installed; ``featherweight[torch]`` brings them.
    """
    picture = plots.lottery(record.curves, record.dense, record.parts_at, record.split)
    return render(
        "lottery.html",
        {"lottery": picture},
        record=record,
        rows=lottery_rows(record),
        measured=measured_line(record),
        bands=len(record.seeds) > 1,
    )
