"""Where the time of a network goes, operation by operation.

A multiply-accumulate is two floating-point operations, and only those that were done count:
GFLOP/s = 2 * macs_done / seconds / 1e9. What was skipped is sparsity = 1 - macs_done / macs.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_NUMBERS = ("ms", "share", "MMACs", "sparsity", "GFLOP/s")


@dataclass(frozen=True)
class OperationTime:
    """One operation of a run, or a step that was put before it: a halo, another layout.

    Attributes:
        operation: its name in the graph.
        kernel: what ran it.
        milliseconds: the median over the runs.
        macs: multiply-accumulates as if nothing were zero.
        macs_done: of these, those that were done.
    """

    operation: str
    kernel: str
    milliseconds: float
    macs: int = 0
    macs_done: int = 0

    @property
    def sparsity(self) -> float | None:
        """Part of the multiply-accumulates that was skipped, 0..1; 0 for a dense kernel whatever the weights.

        None where there are none at all.
        """
        return 1 - self.macs_done / self.macs if self.macs else None

    @property
    def gflops(self) -> float | None:
        """GFLOP/s on nonzeros: of the multiply-accumulates that were done; None where there are none."""
        return _gflops(self.macs_done, self.milliseconds) if self.macs else None


@dataclass(frozen=True)
class RunProfile:
    """Milliseconds of each operation, in the order they ran; prints as a table.

    Attributes:
        rows: one for each operation, and for what was put between them.
        isa: instruction set of the kernels.
        threads: how many ran it.
        repeats: how many runs were timed.
    """

    rows: tuple[OperationTime, ...]
    isa: str
    threads: int
    repeats: int

    @property
    def milliseconds(self) -> float:
        """The sum of all rows."""
        return sum(row.milliseconds for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all rows, as if nothing were zero."""
        return sum(row.macs for row in self.rows)

    @property
    def macs_done(self) -> int:
        """Of these, those that were done."""
        return sum(row.macs_done for row in self.rows)

    @property
    def sparsity(self) -> float | None:
        """Part of all multiply-accumulates that was skipped, 0..1."""
        return 1 - self.macs_done / self.macs if self.macs else None

    @property
    def gflops(self) -> float | None:
        """GFLOP/s on nonzeros, over the time of all rows."""
        return _gflops(self.macs_done, self.milliseconds) if self.macs else None

    def table(self, *, slowest_first: bool = False) -> Table:
        """Return a table for the terminal: a row an operation, and their sum."""
        from rich.markup import escape
        from rich.table import Column, Table

        numbers = [Column(name, justify="right") for name in _NUMBERS]
        names = [Column(name, overflow="fold") for name in ("operation", "kernel")]
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        title = f"{threads}, {self.isa}, median of {self.repeats} runs"
        table = Table(*names, *numbers, title=title, title_justify="left")
        for row in sorted(self.rows, key=lambda row: -row.milliseconds) if slowest_first else self.rows:
            table.add_row(escape(row.operation), row.kernel, *self._cells(row))
        table.add_section()
        table.add_row("all", "", *self._cells(self))
        return table

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=120, color_system=None).print(self.table())
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def _cells(self, row: OperationTime | RunProfile) -> tuple[str, ...]:
        share = row.milliseconds / self.milliseconds if self.milliseconds else 0.0
        return (
            f"{row.milliseconds:.4f}",
            f"{share:.1%}",
            f"{row.macs / 1e6:.2f}" if row.macs else "",
            "" if row.sparsity is None else f"{row.sparsity:.1%}",
            "" if row.gflops is None else f"{row.gflops:.1f}",
        )


def _gflops(macs: int, milliseconds: float) -> float | None:
    return 2e-6 * macs / milliseconds if milliseconds else None
