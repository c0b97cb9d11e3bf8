"""Records, tables, pictures and pages about a student and its teacher."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from rich.console import Console

from featherweight.errors import SettingError
from featherweight.report import (
    ClassAgreement,
    DistillRecord,
    GridCell,
    GridRecord,
    Milliseconds,
    Taught,
    Training,
    distill_page,
    distill_table,
    grid_page,
    plots,
)
from featherweight.report.comparison import taught_lines
from featherweight.report.distilling import gain_line

EVIL = '<script>alert("1")</script>'
UGLY = "<b>&$x^$</b> \x00\n\u4e2d"
RUNS = (
    Training("student alone", (0.81, 0.87, 0.86), 20.0),
    Training("student distilled", (0.85, 0.88, 0.89), 31.5),
)
CLASSES = (ClassAgreement("coat", 50, 40, 45), ClassAgreement("boot", 50, 48, 50))
RECORD = DistillRecord(
    teacher="fashion_cnn", student="small_cnn:widths=8,16,32,64", data="fashion_mnist", teacher_accuracy=0.93,
    student_alone_accuracy=0.8712, student_distilled_accuracy=0.8899, student_alone_agreement=0.88,
    student_distilled_agreement=0.95, split="test", examples=100, teacher_params=390_890,
    student_params=25_154, teacher_ms=Milliseconds(1.2, 1.1, 1.3, 99),
    student_ms=Milliseconds(0.3, 0.2, 0.4, 99), input_shape=((1, 1, 28, 28),), loss="kd", alpha=(0.9, 0.1),
    temperature=(4.0,), epochs=3, learning_rate=0.05, seed=7, runs=RUNS, teacher_validation=0.934,
    classes=CLASSES, bytes_compact=85_691, out="student.safetensors", machine={"device": "a processor"},
)  # fmt: skip
ONE = replace(
    RECORD,
    student_alone_accuracy=None,
    student_alone_agreement=None,
    runs=RUNS[1:],
    classes=(ClassAgreement("coat", 50, None, 45),),
)
CELLS = tuple(
    GridCell(t, a, 0.8 + t / 100 - (a - 0.9) ** 2 / 10) for t in (1.0, 4.0) for a in (0.1, 0.9, 1.0)
)
GRID = GridRecord("fashion_cnn", "small_cnn", "fashion_mnist", "kd", 2, 0.05, 7, 0.82, 0.93, CELLS, 5_000)


def said_by(svg):
    return "".join(ElementTree.fromstring(svg).itertext())


def printed(table):
    text = io.StringIO()
    Console(width=160, file=text).print(table)
    return " ".join(text.getvalue().split())


PICTURES = {
    "no run": lambda: plots.training([]),
    "one epoch": lambda: plots.training([Training(UGLY, (0.5,), 1.0)]),
    "equal": lambda: plots.training([Training("a", (0.5, 0.5), 1.0), Training("b", (0.5, 0.5), 1.0)], 0.5),
    "many epochs": lambda: plots.training([Training("a", tuple(i / 200 for i in range(200)), 1.0)], 1.0),
    "no class": lambda: plots.agreement([]),
    "nothing agrees": lambda: plots.agreement([ClassAgreement(UGLY, 1, 0, 0)]),
    "many classes": lambda: plots.agreement([ClassAgreement(f"{i}", 99, None, i) for i in range(99)]),
    "no cell": lambda: plots.grid([], 0.5),
    "one cell, as alone": lambda: plots.grid([GridCell(1.0, 1.0, 0.5)], 0.5),
    "a cell is missing": lambda: plots.grid(CELLS[:-1], 0.9),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_render(name):
    assert said_by(PICTURES[name]()).strip()


def test_what_the_pictures_say():
    said = said_by(plots.training(RUNS, 0.934))
    for words in ("student alone", "best 87.00%, epoch 2", "best 89.00%, epoch 3", "the teacher, 93.40%"):
        assert words in said
    said = said_by(plots.agreement(CLASSES))
    for words in ("80.0%", "90.0%", "96.0%", "100.0%", "coat", "student alone", "student distilled"):
        assert words in said
    said = said_by(plots.agreement([ClassAgreement(f"c{i}", 99, None, i) for i in range(99)]))
    assert "40 of 99 classes with the least" in said
    assert "c39" in said
    assert "c40" not in said
    said = said_by(plots.grid(CELLS, 0.82))
    for words in ("84.00%", "+2.00 points", "-1.00 points", "alone (82.00%)"):
        assert words in said


def test_the_table_and_the_gain():
    text = printed(distill_table(RECORD))
    for words in ("student alone", "87.12%", "88.99%", "95.00%", "390,890", "1.2 (1.1-1.3)", "100 examples"):
        assert words in text
    assert gain_line(RECORD) == (
        "15.5x fewer parameters than the teacher; 4.00x faster; +1.87 points of accuracy against the student "
        "alone, 3 epochs each."
    )
    assert "student alone" not in printed(distill_table(ONE)) + gain_line(ONE)
    on_validation = replace(RECORD, split="validation")
    assert "on which the epoch was chosen" in printed(distill_table(on_validation))


@pytest.mark.parametrize("record", [RECORD, ONE], ids=["both", "one"])
def test_the_page_is_whole(record):
    page = distill_page(record)
    assert page.count("<svg") == 2
    rest = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"https?://|@import|url\((?!#)|\ssrc=|<link|<script", rest)
    for words in (
        "alpha from 0.9 to 0.1; temperature 4",
        "3 epochs, learning rate 0.05, seed 7",
        "a processor",
    ):
        assert words in page
    assert ("student alone" in page) == (record is RECORD)


def test_the_page_of_a_grid():
    page = grid_page(GRID)
    assert page.count("<svg") == 1
    assert "Best: temperature 4, alpha 0.9,\n84.00%." in page
    assert (GRID.best.temperature, GRID.best.alpha) == (4.0, 0.9)


def test_names_are_escaped():
    classes, runs = (ClassAgreement(EVIL, 2, 1, 1),), (Training(EVIL, (0.5,) * 3, 1.0),)
    named = dict.fromkeys(("teacher", "student", "data", "loss", "out"), EVIL)
    pages = distill_page(replace(RECORD, **named, classes=classes, runs=runs, machine={EVIL: EVIL}))
    pages += grid_page(replace(GRID, **{name: EVIL for name in named if name != "out"}))
    assert "<script" not in pages
    assert pages.count("&lt;script&gt;") > 10


def test_json_holds_everything():
    record = json.loads(RECORD.to_json())
    assert record["runs"][1] == {
        "label": "student distilled",
        "validation": [0.85, 0.88, 0.89],
        "seconds": 31.5,
    }
    assert record["classes"][0] == {"name": "coat", "examples": 50, "alone": 40, "distilled": 45}
    assert json.loads(GRID.to_json())["cells"][0]["alpha"] == 0.1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Training("a", (), 1.0),
        lambda: Training("a", (87.0,), 1.0),
        lambda: ClassAgreement("a", 5, 6, 1),
        lambda: ClassAgreement("a", 5, None, 6),
        lambda: ClassAgreement("a", 0, None, 0),
        lambda: GridCell(1.0, 1.5, 0.5),
        lambda: GridCell(1.0, 0.5, 50.0),
        lambda: replace(GRID, cells=()),
        lambda: replace(RECORD, student_distilled_accuracy=88.99),
        lambda: replace(RECORD, teacher_params=0),
        lambda: Taught(0.9, 0.8, 81.0, 10, 100),
        lambda: Taught(0.9, 0.8, 0.81, 0, 100),
    ],
)
def test_what_cannot_be(make):
    with pytest.raises(SettingError):
        make()


def test_what_the_demo_says_of_a_student():
    lines = taught_lines(Taught(0.9312, 0.8937, 0.9011, 25_154, 390_890), 10_000)
    assert [(line.before, line.after) for line in lines] == [
        ("390,890", "25,154"), ("93.12%", "89.37%"), ("93.12%", "90.11%"),
    ]  # fmt: skip
    assert "+0.74 points against alone" in lines[2].change
    assert "10,000 test images" in lines[1].change
