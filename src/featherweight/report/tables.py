"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Column, Table

from featherweight.report.records import DemoRecord, InspectRow, PruneRecord


def demo_table(record: DemoRecord) -> Table:
    """Return the before/after table of the demo, every ratio with what it is of."""
    title = f"{record.network} on {record.data}, {record.sparsity:.1%} of the prunable weights zero"
    table = Table("", *_right("before", "after", ""), title=title)
    for row in demo_rows(record):
        table.add_row(*row)
    table.caption = (
        f"accuracy on {record.test_examples:,} test images; {record.epochs} epochs of fine-tuning, "
        f"seed {record.seed}"
    )
    return table


def demo_rows(record: DemoRecord) -> list[tuple[str, str, str, str]]:
    """Return the rows of the demo's table: what, before, after, the change in words."""
    nonzero = _fewer(record.params, record.nonzero, "nonzero parameters")
    compact = _fewer(record.bytes_dense, record.bytes_compact, "bytes, lossless")
    half = _fewer(record.bytes_dense, record.bytes_compact_fp16, "bytes")
    dense, dense_bytes = record.dense_accuracy, f"{record.bytes_dense:,}"
    return [
        ("nonzero parameters", f"{record.params:,}", f"{record.nonzero:,}", nonzero),
        ("bytes (fp32)", dense_bytes, f"{record.bytes_compact:,}", compact),
        ("bytes (values in fp16)", dense_bytes, f"{record.bytes_compact_fp16:,}", half),
        _accuracy("accuracy, pruned while fine-tuned", dense, record.pruned_accuracy),
        *_finetuned(record),
        _accuracy("accuracy, one-shot, no training", dense, record.oneshot_accuracy),
        _accuracy("accuracy, random, no training", dense, record.random_accuracy),
    ]


def _finetuned(record: DemoRecord) -> list[tuple[str, str, str, str]]:
    after = record.oneshot_finetuned_accuracy
    return (
        [] if after is None else [_accuracy("accuracy, one-shot, fine-tuned", record.dense_accuracy, after)]
    )


def _accuracy(what: str, before: float, after: float) -> tuple[str, str, str, str]:
    return what, f"{before:.2%}", f"{after:.2%}", f"{100 * (after - before):+.2f} points"


def _fewer(before: int, after: int, what: str) -> str:
    return f"{before / after:.1f}x fewer {what}" if after else f"no {what} left"


def prune_table(record: PruneRecord) -> Table:
    """Return what ``featherweight prune`` did."""
    table = Table("", *_right("before", "after", ""), title=f"{record.model}, {record.sparsity:.1%} sparse")
    fewer = _fewer(record.params, record.nonzero, "nonzero parameters")
    table.add_row("nonzero parameters", f"{record.params:,}", f"{record.nonzero:,}", fewer)
    compact = _fewer(record.bytes_dense, record.bytes_compact, "bytes")
    table.add_row("bytes", f"{record.bytes_dense:,}", f"{record.bytes_compact:,}", compact)
    if record.accuracy_before is not None and record.accuracy_after is not None:
        what = f"accuracy ({record.examples:,} examples)" if record.examples else "accuracy"
        table.add_row(*_accuracy(what, record.accuracy_before, record.accuracy_after))
    table.caption = f"written to {record.out}"
    return table


def tensor_table(rows: Sequence[InspectRow]) -> Table:
    """Return the tensors of a file, a row each, and their totals."""
    table = Table(
        "tensor", "shape", "dtype", *_right("values", "nonzero", "sparsity"), "coding", *_right("bytes")
    )
    for row in rows:
        shape = "x".join(map(str, row.shape)) or "scalar"
        counts = _counts(row.numel, row.nonzeros)
        table.add_row(row.name, shape, row.dtype, *counts, row.coding, f"{row.bytes:,}")
    once = [row for row in rows if row.coding != "same"]  # a tensor under a second name counts once
    counts = _counts(sum(row.numel for row in once), sum(row.nonzeros for row in once))
    table.add_section()
    table.add_row("total", "", "", *counts, "", f"{sum(row.bytes for row in rows):,}", style="bold")
    return table


def _counts(numel: int, nonzeros: int) -> tuple[str, str, str]:
    return f"{numel:,}", f"{nonzeros:,}", f"{1 - nonzeros / numel:.1%}" if numel else ""


def _right(*titles: str) -> list[Column]:
    return [Column(title, justify="right") for title in titles]
