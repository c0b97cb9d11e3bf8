"""Records: JSON there and back, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from featherweight.errors import ArtifactError, SettingError
from featherweight.report import (
    Curve,
    DemoRecord,
    Histogram,
    LayerSparsity,
    Milliseconds,
    PruneRecord,
    Taught,
    Width,
)


def test_json_there_and_back(made):
    taught = Taught(0.93, 0.89, 0.9, 25_154, 390_890)
    for record in (made(), made(oneshot_finetuned_accuracy=0.9, curves=(), layers=()), made(taught=taught)):
        assert DemoRecord.from_json(record.to_json()) == record


def test_what_is_known_of_a_student_stands_beside_the_rest(made):
    taught = Taught(0.93, 0.89, 0.9, 25_154, 390_890)
    with_student, without = (json.loads(made(taught=t).to_json()) for t in (taught, None))
    assert {key: value for key, value in with_student.items() if key not in without} == vars(taught)
    assert "taught" not in with_student | without


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"curves": [], "layers": [], "histograms": [], "codings": []}']
)
def test_json_of_something_else_is_refused(text):
    with pytest.raises(ArtifactError, match="Not a demo's record"):
        DemoRecord.from_json(text)


def test_json_of_a_value_out_of_range_is_refused(made):
    text = json.dumps(json.loads(made().to_json()) | {"pruned_accuracy": 92.8})
    with pytest.raises(ArtifactError, match=r"pruned_accuracy is a fraction, 0..1, got 92.8"):
        DemoRecord.from_json(text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dense_accuracy": 93.0}, "dense_accuracy is a fraction"),
        ({"random_accuracy": float("nan")}, "random_accuracy is a fraction"),
        ({"nonzero": 390_891}, "more than the 390,890 parameters"),
        ({"structured_macs_ratio": 1.2}, "structured_macs_ratio is a fraction"),
        ({"structured_params": 390_891}, "more than the 390,890 parameters"),
        ({"bytes_compact": 0}, "bytes_compact is a whole number of at least 1"),
    ],
)
def test_what_a_demo_cannot_be(made, changes, says):
    with pytest.raises(SettingError, match=says):
        made(**changes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Curve("c", (1.0, 0.5), (0.9,), "test", 1, ""),
        lambda: Curve("c", (1.5,), (0.9,), "test", 1, ""),
        lambda: LayerSparsity("l", 10, 11),
        lambda: Histogram("h", (0.0, 1.0), (1,), (1, 2)),
        lambda: Histogram("h", (1.0, 0.0), (1,), (1,)),
        lambda: Width("w", 10, 11),
        lambda: Milliseconds(1.0, 2.0, 3.0, 5),
        lambda: Milliseconds(0.0, 0.0, 3.0, 5),
    ],
)
def test_what_a_piece_cannot_be(make):
    with pytest.raises(SettingError):
        make()


def test_a_prune_record_needs_the_examples_of_its_accuracy():
    record = PruneRecord("net", 0.9, 100, 12, 0.9, 0.8, 50, 400, 100, "o", (("bias", "one dimension"),))
    assert json.loads(record.to_json())["left_alone"] == [["bias", "one dimension"]]
    with pytest.raises(SettingError, match="number of its examples"):
        replace(record, examples=None)
