"""The record and the table of ``featherweight prune``."""

from __future__ import annotations

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Column, Table

from featherweight.errors import SettingError
from featherweight.report import _check
from featherweight.report.words import fewer, percent, points


@dataclass(frozen=True)
class PruneRecord:
    """A network pruned on the command line.

    Attributes:
        model: as it was asked for.
        sparsity: fraction of the prunable weights that is zero, 0..1.
        params: parameters of the network.
        nonzero: of these, those that are not zero.
        accuracy_before: of the network as given, 0..1; None where there were no data.
        accuracy_after: of the pruned network read back from the file; None where there were no data.
        examples: that accuracy was measured on; None where there were no data.
        bytes_dense: of its tensors, dense.
        bytes_compact: of the file written.
        out: path of that file.
        left_alone: (name, reason) of what was not pruned.

    Raises:
        SettingError: a value is out of range, or an accuracy comes without its examples.
    """

    model: str
    sparsity: float
    params: int
    nonzero: int
    accuracy_before: float | None
    accuracy_after: float | None
    examples: int | None
    bytes_dense: int
    bytes_compact: int
    out: str
    left_alone: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        _check.fraction("sparsity", self.sparsity)
        _check.fraction("accuracy_before", self.accuracy_before)
        _check.fraction("accuracy_after", self.accuracy_after)
        for name in ("params", "nonzero", "bytes_dense", "bytes_compact"):
            _check.count(name, getattr(self, name))
        if (self.accuracy_before, self.accuracy_after) != (None, None) and not self.examples:
            raise SettingError(f"An accuracy needs the number of its examples, got {self.examples}.")

    def to_json(self) -> str:
        """Return everything as a JSON object."""
        return _check.dump(self)


def prune_table(record: PruneRecord) -> Table:
    """Return a table of the network before and after, each change with the name of its axis."""
    params, nonzero, kept = record.params, record.nonzero, 1 - record.sparsity
    dense, compact = record.bytes_dense, record.bytes_compact
    right = [Column(title, justify="right", no_wrap=True) for title in ("before", "after")]
    table = Table("", *right, "change", title=escape(f"{record.model} -> {record.out}"), title_justify="left")
    table.add_row("parameters", f"{params:,}", f"{params:,}", "same shapes")
    table.add_row(
        "nonzero parameters", f"{params:,}", f"{nonzero:,}", fewer(params, nonzero, "nonzero parameters")
    )
    table.add_row("prunable weights kept", "100%", percent(kept), fewer(1, kept, "nonzero prunable weights"))
    table.add_row("bytes", f"{dense:,}", f"{compact:,}", fewer(dense, compact, "bytes on disk"))
    table.add_row("accuracy", *_accuracy(record))
    return table


def _accuracy(record: PruneRecord) -> tuple[str, str, str]:
    before, after = record.accuracy_before, record.accuracy_after
    cells = ["not measured" if value is None else percent(value) for value in (before, after)]
    if before is None or after is None:
        return cells[0], cells[1], "no data were given" if not record.examples else ""
    return cells[0], cells[1], f"{points(before, after)} of accuracy on {record.examples:,} examples"
