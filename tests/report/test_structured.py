"""The record of structured pruning: what it refuses, what its tables and its page say."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from featherweight.errors import SettingError
from featherweight.report import (
    CutStep,
    Milliseconds,
    SensitivityRecord,
    StructuredRecord,
    Width,
    WidthCurve,
    sensitivity_page,
    structured_page,
    structured_tables,
)
from featherweight.report.narrowing import check_line, target_line
from featherweight.report.words import faster

FIELDS = {
    "model": "mine:<net>", "criterion": "l2", "target": "macs", "asked": 0.4, "predicted": 0.39,
    "achieved": 0.385, "params": (1000, 250), "nonzero": (1000, 250), "macs": (9000, 3465),
    "times": (Milliseconds(3.0, 2.9, 3.2, 50), Milliseconds(1.5, 1.4, 1.6, 50)), "input_shape": ((1, 8),),
    "bytes_dense": 4000, "bytes_compact": 1000, "sparsity": None, "accuracy": (0.93, 0.92), "split": "test",
    "examples": 10_000, "widths": (Width("a.weight", 16, 4), Width("b.weight", 8, 8)), "removed_blocks": (),
    "skipped": ("b.weight",), "steps": (), "validation_before": None, "same_class": True,
    "reload_difference": 2e-7, "out": "small.safetensors", "seed": 3, "machine": {"threads": "2"},
}  # fmt: skip
STEPS = (CutStep(0.6, 600, 6000, 0.8, 0.92), CutStep(0.385, 250, 3465, 0.7, 0.915))


def made(**changes):
    return StructuredRecord(**{**FIELDS, **changes})


def text(record):
    stream = io.StringIO()
    for table in structured_tables(record):
        Console(file=stream, width=118).print(table)
    return " ".join(stream.getvalue().replace("│", " ").split())


def test_the_tables():
    said = text(made())
    for words in (
        "4.0x fewer parameters",
        "2.6x fewer MACs",
        "3 (2.9-3.2) 1.5 (1.4-1.6) 2.00x faster in PyTorch (medians of 50 in turns, 1x8)",
        "4.0x fewer bytes on disk",
        "-1.00 points of accuracy on 10,000 examples (test)",
        "a.weight 16 4 25%",
        "b.weight (left alone) 8 8 100%",
    ):
        assert words in said
    assert "nonzero" not in said
    assert "after fine-tuning" not in said


def test_the_tables_of_all_there_is():
    said = text(made(steps=STEPS, validation_before=0.925, sparsity=0.5, nonzero=(1000, 125)))
    assert "8.0x fewer nonzero parameters" in said
    assert "2 38.50% 250 3,465 70.00% 91.50%" in said
    assert "92.50% before" in said
    assert "not measured" in text(made(accuracy=None, split=None, examples=None))


def test_what_it_says():
    assert target_line(made()) == (
        "Left of its MACs: at most 40.00% asked, 39.00% predicted, 38.50% achieved."
    )
    assert "achieved in 2 steps" in target_line(made(steps=STEPS))
    assert "predicted" not in target_line(made(predicted=None))
    assert "rewritten graph" in check_line(made(same_class=False))
    assert "rewritten graph" not in check_line(made())
    assert (faster(3, 1.5), faster(1, 2)) == ("2.00x faster", "2.00x slower")


def test_its_json():
    record = json.loads(made(steps=STEPS).to_json())
    assert record["widths"][0] == {"name": "a.weight", "before": 16, "after": 4}
    assert record["steps"][1]["tuned"] == 0.915
    assert made().speedup == 2.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"examples": None}, "An accuracy needs its split and examples"),
        ({"accuracy": (93, 92)}, "accuracy is a fraction"),
        ({"asked": 40}, "asked is a fraction"),
        ({"params": (1000, -1)}, "params is a whole number"),
    ],
)
def test_what_it_refuses(changes, says):
    with pytest.raises(SettingError, match=says):
        made(**changes)


def test_its_page():
    page = structured_page(made(steps=STEPS))
    assert page.count("<svg") == 2
    assert "mine:&lt;net&gt;" in page
    assert "<net>" not in page
    for words in ("Left alone on request: b.weight", "4 of 16: 25%", "2.00x", "-1.00", "color-scheme"):
        assert words in page
    assert structured_page(made()).count("<svg") == 1
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_page_of_a_scan():
    curves = (WidthCurve("a<b>", 16, (0.5,), (0.8,)), WidthCurve("c", 4, (0.5,), (0.9,)))
    fields = {"model": "mine:net", "metric": "accuracy", "whole": 0.93, "examples": 500, "criterion": "l2"}
    page = sensitivity_page(SensitivityRecord(**fields, keeps=(0.5,), curves=curves, skipped=("d",)))
    assert page.count("<svg") == 1
    for words in ("a&lt;b&gt;", "50% kept", "80.00%", "93.00%", "500 examples", "Left alone on request: d"):
        assert words in page
    assert "a<b>" not in page
    with pytest.raises(SettingError, match="keeps and points of group 'c'"):
        SensitivityRecord(**fields, keeps=(0.5,), curves=(WidthCurve("c", 4, (), ()),))
