"""The record of a lottery experiment, and its table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Column, Table
from rich.text import Text

from featherweight.errors import SettingError
from featherweight.report import _check
from featherweight.report.words import percent


@dataclass(frozen=True)
class LotteryCurve:
    """Accuracy of a branch by level.

    Attributes:
        branch: its name, such as "random_init".
        title: what it is, in a few words.
        remaining: fraction of the prunable weights that is left, 0..1, of each level.
        values: accuracies from all seeds, 0..1, of each level.

    Raises:
        SettingError: a fraction is not in 0..1, there is a level without values, or they are not as many.
    """

    branch: str
    title: str
    remaining: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        _check.same_length(f"levels and values of {self.branch!r}", len(self.remaining), len(self.values))
        for value in (*self.remaining, *(value for values in self.values for value in values)):
            _check.fraction(f"a value of {self.branch!r}", value)
        if not all(self.values):
            raise SettingError(f"Every level of {self.branch!r} has an accuracy from one seed at least.")

    @property
    def means(self) -> tuple[float, ...]:
        """Mean over seeds, of each level."""
        return tuple(statistics.fmean(values) for values in self.values)


@dataclass(frozen=True)
class LotteryRecord:
    """What an experiment found; see ``featherweight lottery``.

    Attributes:
        network: as it was asked for.
        data: likewise.
        split: "test" or "validation", that all accuracies are of.
        examples: of that split; 0: not counted.
        dense: accuracies of the dense network from all seeds, 0..1.
        curves: of the branches.
        statements: what they say, in sentences with their numbers.
        parts_at: fraction of the weights at which ticket and random re-initialisation part; None: they do
            not, or were not both run.
        settings: how it was run, by name.
        seeds: a whole experiment each.
        trainings: networks that were trained.
        seconds: of all of them together.

    Raises:
        SettingError: a value is out of range.
    """

    network: str
    data: str
    split: str
    examples: int
    dense: tuple[float, ...]
    curves: tuple[LotteryCurve, ...]
    statements: tuple[str, ...]
    parts_at: float | None
    settings: Mapping[str, str]
    seeds: tuple[int, ...]
    trainings: int
    seconds: float

    def __post_init__(self) -> None:
        for value in (*self.dense, self.parts_at):
            _check.fraction("an accuracy or fraction", value)
        _check.count("trainings", self.trainings, 1)
        _check.count("examples", self.examples)
        if not self.dense:
            raise SettingError("dense= has the accuracy of the dense network from one seed at least.")

    def to_json(self) -> str:
        """Return everything as a JSON object."""
        return _check.dump(self)


def lottery_table(record: LotteryRecord) -> Table:
    """Return a table with a row a level and a column a branch."""
    columns = [Column(curve.title, justify="right") for curve in record.curves]
    # Text, as markup would make a picture of a name such as "mynet:two:"
    title = Text(f"{record.network} on {record.data}: {record.split} accuracy by level", "bold")
    first = Column("weights left", justify="right")
    table = Table(first, *columns, title=title, title_justify="left")
    for row in lottery_rows(record):
        table.add_row(*row)
    table.caption, table.caption_justify = Text(measured_line(record)), "left"
    return table


def lottery_rows(record: LotteryRecord) -> tuple[tuple[str, ...], ...]:
    """Return the cells of the table, the dense network first: what is left, mean and band of each branch."""
    levels = sorted({left for curve in record.curves for left in curve.remaining}, reverse=True)
    dense = ("100% (dense)", *(band(record.dense) for _ in record.curves))
    return (dense, *((percent(left, 1), *(_cell(curve, left) for curve in record.curves)) for left in levels))


def band(values: tuple[float, ...]) -> str:
    """Return such as "88.10 (87.90-88.31)", in %: the mean, and the lowest and highest seed."""
    mean = f"{100 * statistics.fmean(values):.2f}"
    return f"{mean} ({100 * min(values):.2f}-{100 * max(values):.2f})" if len(values) > 1 else mean


def measured_line(record: LotteryRecord) -> str:
    """Return what the figures are."""
    on = f", {record.examples:,} examples" if record.examples else ""
    read = "read once a level" if record.split == "test" else "on which the epoch was chosen, too"
    seeds = f"{len(record.seeds)} seeds: mean (lowest-highest)" if len(record.seeds) > 1 else "one seed"
    return f"% of the {record.split} split{on}, {read}; {seeds}."


def _cell(curve: LotteryCurve, left: float) -> str:
    found = dict(zip(curve.remaining, curve.values, strict=True))
    return band(found[left]) if left in found else ""
