"""Where the time of a network goes, operation by operation."""

from __future__ import annotations

import io
from dataclasses import dataclass


@dataclass(frozen=True)
class OperationTime:
    """One operation of a run.

    Attributes:
        operation: its name in the graph.
        kernel: what ran it, of which instruction set.
        milliseconds: the median over the runs.
        macs: multiply-accumulates as if nothing were zero.
        macs_done: of these, those that were done.
    """

    operation: str
    kernel: str
    milliseconds: float
    macs: int = 0
    macs_done: int = 0


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

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        title = (
            f"{self.milliseconds:.3f} ms on {self.threads} thread(s), {self.isa}, median of {self.repeats}"
        )
        table = Table(title=title, title_justify="left")
        for name in ("operation", "kernel"):
            table.add_column(name, overflow="fold")
        for name in ("ms", "share", "MMACs", "done"):
            table.add_column(name, justify="right")
        for row in self.rows:
            share = row.milliseconds / self.milliseconds if self.milliseconds else 0.0
            done = f"{row.macs_done / row.macs:.1%}" if row.macs else ""
            macs = f"{row.macs / 1e6:.2f}" if row.macs else ""
            table.add_row(row.operation, row.kernel, f"{row.milliseconds:.4f}", f"{share:.1%}", macs, done)
        text = io.StringIO()
        Console(file=text, width=120, color_system=None).print(table)
        return text.getvalue().rstrip()
