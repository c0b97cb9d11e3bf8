"""Tables hold the right figures, each change with its axis, and show names as they are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from featherweight.report import InspectRow, PruneRecord, demo_table, prune_table, tensor_table
from featherweight.report.words import fewer, points, shortened


def text(table, width=118):
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue()


def row(table, start):
    return next(line for line in text(table).splitlines() if start in line)


def test_demo_table(made):
    table = demo_table(made())
    assert "9.8x fewer nonzero parameters" in row(table, "nonzero parameters")
    assert "10.0x fewer nonzero prunable weights" in row(table, "prunable weights kept")
    assert "11.2x fewer bytes on disk (fp32, lossless)" in row(table, "fp32 values")
    assert "18.8x fewer bytes on disk (fp16, against fp32)" in row(table, "fp16 values")
    assert "-0.31 points of accuracy on 10,000 test images" in row(table, "fine-tuned while pruned")
    assert "61.20%" in row(table, "one-shot, no fine-tuning")
    assert "-83.12 points" in row(table, "random, no fine-tuning")
    assert "then fine-tuned" not in text(table)
    assert "-1.12 points" in row(demo_table(made(oneshot_finetuned_accuracy=0.92)), "then fine-tuned")


def test_demo_table_tells_a_failed_check(made):
    assert "CHECK FAILED" not in text(demo_table(made()))
    assert "CHECK FAILED" in text(demo_table(made(identical_predictions=False)))


def test_names_are_not_markup(made):
    assert "a[red]b" in text(demo_table(made(network="a[red]b")))
    assert "w[0]" in text(tensor_table([InspectRow("w[0]", (2,), "F32", 1, 2, "dense", 8)]))


def test_prune_table_without_data():
    record = PruneRecord("net", 1.0, 100, 0, None, None, None, 400, 100, "o", ())
    assert "not measured" in row(prune_table(record), "accuracy")
    assert "no nonzero parameters left" in row(prune_table(record), "nonzero parameters")


def test_tensor_table_counts_a_second_name_once():
    rows = [
        InspectRow("a", (3, 4), "F32", 3, 12, "gap+zstd", 20),
        InspectRow("b", (3, 4), "F32", 3, 12, "same", 0),
    ]
    total = row(tensor_table(rows), "total").split()
    assert [cell for cell in total if cell[0].isdigit()] == ["12", "3", "25.0", "20"]


@pytest.mark.parametrize(
    ("before", "after", "says"), [(10, 1, "10.0x fewer b"), (1, 2, "2.0x more b"), (3, 0, "no b left")]
)
def test_fewer(before, after, says):
    assert fewer(before, after, "b") == says


def test_words():
    assert points(0.5, 0.5) == "0.00 points"
    assert points(0.5, 0.512) == "+1.20 points"
    assert shortened("abcdefghij", 5) == "ab…ij"
    assert shortened("a\nb", 5) == "a\N{REPLACEMENT CHARACTER}b"
