"""The demo's before and after, a line an axis: what both the terminal's table and the page's show."""

from __future__ import annotations

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Column, Table

from featherweight.report.pieces import Taught
from featherweight.report.records import DemoRecord
from featherweight.report.words import fewer, percent, points


@dataclass(frozen=True)
class Line:
    """One axis: its value before and after, and the change in words.

    Before pruning every parameter counts as nonzero.
    """

    what: str
    before: str
    after: str
    change: str
    chosen: bool = False  # the method that the demo is about


_PRUNED = "accuracy, fine-tuned while pruned"


def comparison(record: DemoRecord) -> tuple[tuple[Line, ...], ...]:
    """Return the lines on size, accuracy, channels removed, the deployed file, and a student, if any."""
    taught = () if record.taught is None else (taught_lines(record.taught, record.test_examples),)
    pruned = (
        _size_lines(record), _accuracy_lines(record), _structured_lines(record), _runtime_lines(record),
    )  # fmt: skip
    return pruned + taught


def demo_table(record: DemoRecord) -> Table:
    """Return a table of the network before and after, each change with the name of its axis."""
    right = [Column(title, justify="right", no_wrap=True) for title in ("before", "after")]
    title = escape(f"{record.network} on {record.data}, before and after pruning")
    table = Table("", *right, "change", title=title, title_justify="left", title_style="bold")
    for lines in comparison(record):
        for line in lines:
            style = "bold" if line.chosen else None
            table.add_row(line.what, line.before, line.after, line.change, style=style)
        table.add_section()
    table.caption = escape(check_line(record))
    table.caption_justify = "left"
    return table


def check_line(record: DemoRecord) -> str:
    """Return what the check of the compact file found."""
    if record.identical_predictions:
        return f"Loaded from {record.compact_file} in a fresh process, the network predicts the same."
    return (
        f"CHECK FAILED: loaded from {record.compact_file} in a fresh process, the network predicts otherwise."
    )


def _size_lines(record: DemoRecord) -> tuple[Line, ...]:
    params, dense, kept = record.params, record.bytes_dense, 1 - record.sparsity
    fp32, fp16 = record.bytes_compact, record.bytes_compact_fp16
    return (
        Line("parameters", f"{params:,}", f"{params:,}", "same shapes: the same network loads them"),
        Line("nonzero parameters", f"{params:,}", f"{record.nonzero:,}", _nonzero(record)),
        Line("prunable weights kept", "100%", percent(kept), fewer(1, kept, "nonzero prunable weights")),
        Line("bytes, fp32 values", f"{dense:,}", f"{fp32:,}", _bytes(dense, fp32, "fp32, lossless")),
        Line("bytes, fp16 values", f"{dense:,}", f"{fp16:,}", _bytes(dense, fp16, "fp16, against fp32")),
    )


def _structured_lines(record: DemoRecord) -> tuple[Line, ...]:
    params, left = record.params, record.structured_params
    before, after = record.structured_times
    ratio, bytes_ = record.structured_macs_ratio, record.structured_bytes
    dense, accuracy = record.dense_accuracy, record.structured_accuracy
    repeats = f"batch 1, medians of {after.repeats} passes in turns"
    return (
        Line("channels removed: parameters", f"{params:,}", f"{left:,}", fewer(params, left, "parameters")),
        Line("channels removed: MACs", "100%", percent(ratio), fewer(1, ratio, "MACs")),
        Line(
            "channels removed: milliseconds",
            str(before),
            str(after),
            f"{record.structured_speedup:.1f}x faster in PyTorch ({repeats})",
        ),
        Line(
            "channels removed: bytes",
            f"{record.bytes_dense:,}",
            f"{bytes_:,}",
            _bytes(record.bytes_dense, bytes_, "fp32, lossless"),
        ),
        Line("channels removed: accuracy", percent(dense), percent(accuracy), _change(record, accuracy)),
    )


def _runtime_lines(record: DemoRecord) -> tuple[Line, ...]:
    other, own = record.runtime_times
    dense, accuracy = record.dense_accuracy, record.runtime_accuracy
    speedup = f"{record.runtime_speedup_vs_onnxruntime:.1f}x the speed of ONNX Runtime"
    return (
        Line(
            "deployed, pruned weights: ms",
            str(other),
            str(own),
            f"{speedup} (fp32, 1 thread, batch 1, medians of {own.repeats} in turns)",
        ),
        Line(
            "deployed: bytes",
            f"{record.bytes_dense:,}",
            f"{record.fw_bytes:,}",
            _bytes(record.bytes_dense, record.fw_bytes, "the .fw file, fp32"),
        ),
        Line("deployed: accuracy", percent(dense), percent(accuracy), _change(record, accuracy)),
    )


def taught_lines(taught: Taught, examples: int) -> tuple[Line, ...]:
    """Return the student beside its teacher, and what the teacher brought.

    Args:
        taught: the two students.
        examples: that accuracy was measured on.
    """
    teacher, alone = percent(taught.teacher_accuracy), taught.student_alone_accuracy
    distilled, params = taught.student_distilled_accuracy, (taught.teacher_params, taught.student_params)
    images = f"{examples:,} test images"
    return (
        Line("a student: parameters", f"{params[0]:,}", f"{params[1]:,}", fewer(*params, "parameters")),
        Line(
            "student alone: accuracy",
            teacher,
            percent(alone),
            f"{points(taught.teacher_accuracy, alone)} of accuracy on {images}",
        ),
        Line(
            "student distilled: accuracy",
            teacher,
            percent(distilled),
            f"{points(taught.teacher_accuracy, distilled)}; {points(alone, distilled)} against alone",
        ),
    )


def _change(record: DemoRecord, after: float) -> str:
    change = points(record.dense_accuracy, after)
    return f"{change} of accuracy on {record.test_examples:,} test images"


def _nonzero(record: DemoRecord) -> str:
    return fewer(record.params, record.nonzero, "nonzero parameters")


def _bytes(before: int, after: int, how: str) -> str:
    return f"{fewer(before, after, 'bytes on disk')} ({how})"


def _accuracy_lines(record: DemoRecord) -> tuple[Line, ...]:
    named = {
        _PRUNED: record.pruned_accuracy,
        "accuracy, one-shot, then fine-tuned": record.oneshot_finetuned_accuracy,
        "accuracy, one-shot, no fine-tuning": record.oneshot_accuracy,
        "accuracy, random, no fine-tuning": record.random_accuracy,
    }
    dense = record.dense_accuracy
    return tuple(
        Line(
            what,
            percent(dense),
            percent(after),
            _change(record, after),
            what == _PRUNED,
        )
        for what, after in named.items()
        if after is not None
    )
