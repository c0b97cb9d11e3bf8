"""The table of ``featherweight inspect``: the tensors of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Column, Table


@dataclass(frozen=True)
class InspectRow:
    """One tensor of a file.

    Attributes:
        name: in the file.
        shape: its sizes; () for a scalar.
        dtype: of its elements.
        nonzeros: elements that have a bit set; None where that is not known.
        numel: elements.
        coding: how it is written; "same" where it is another tensor under a second name.
        bytes: in the file, headers not counted.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nonzeros: int | None
    numel: int
    coding: str
    bytes: int


def tensor_table(rows: Sequence[InspectRow]) -> Table:
    """Return a row a tensor, with a total in which a tensor under a second name counts once."""
    right = [Column(title, justify="right", no_wrap=True) for title in ("elements", "nonzero", "%", "bytes")]
    table = Table(Column("tensor", overflow="fold"), "shape", "type", *right[:3], "coding", right[3])
    for row in rows:
        shape = "x".join(map(str, row.shape)) or "scalar"
        counts = _counts(row.numel, row.nonzeros)
        table.add_row(
            escape(row.name), shape, escape(row.dtype), *counts, escape(row.coding), f"{row.bytes:,}"
        )
    unique = [row for row in rows if row.coding != "same"]
    known = [row.nonzeros for row in unique if row.nonzeros is not None]
    nonzeros = sum(known) if len(known) == len(unique) else None
    counts = _counts(sum(row.numel for row in unique), nonzeros)
    table.add_section()
    table.add_row("total", "", "", *counts, "", f"{sum(row.bytes for row in unique):,}", style="bold")
    return table


def _counts(numel: int, nonzeros: int | None) -> tuple[str, str, str]:
    if nonzeros is None:
        return f"{numel:,}", "?", ""
    return f"{numel:,}", f"{nonzeros:,}", f"{100 * nonzeros / numel:.1f}" if numel else ""
