"""``featherweight distill --grid``: temperatures and alphas on the validation split."""

from __future__ import annotations

import json

import pytest

import featherweight as fw
from featherweight.cli.batches import make_batches
from featherweight.cli.distilling import trying
from featherweight.cli.network import make_network

TINY = """
def tiny():
    return torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
"""
WORDS = ("--teacher", "mynet:net", "--student", "mynet:tiny", "--data", "mynet:data", "--grid", "g.jsonl")


@pytest.fixture
def small(mynet, monkeypatch):
    """Two temperatures and two alphas."""
    (mynet / "mynet.py").write_text((mynet / "mynet.py").read_text() + TINY)
    monkeypatch.setattr(trying, "TEMPERATURES", (1.0, 4.0))
    monkeypatch.setattr(trying, "ALPHAS", (0.5, 1.0))
    return mynet


def lines(folder):
    return [json.loads(line) for line in (folder / "g.jsonl").read_text().splitlines()]


def test_a_line_a_cell(invoke, small):
    result = invoke("distill", *WORDS, "--json", "a.json", "--report", "a.html", "--learning-rate", "0.2")
    assert result.exit_code == 0, result.output
    found = {(line["temperature"], line["alpha"]): line["validation"] for line in lines(small)}
    assert set(found) == {(None, 0.0), (1.0, 0.5), (1.0, 1.0), (4.0, 0.5), (4.0, 1.0)}
    batches, teacher = make_batches("mynet:data"), make_network("mynet:net", None)
    settings = fw.TrainingSettings(epochs=2, learning_rate=0.2)
    for (temperature, alpha), validation in found.items():
        student = make_network("mynet:tiny", None)
        if temperature is None:
            fw.fit(student, batches.train, batches.validate, settings, progress=False)
        else:
            student = fw.distill(
                teacher, student, batches.train, batches.validate, alpha=alpha, temperature=temperature,
                settings=settings, progress=False,
            )  # fmt: skip
        assert validation == fw.evaluate(student, batches.validate)
    record = json.loads((small / "a.json").read_text())
    assert (record["alone"], record["examples"]) == (found[None, 0.0], 16)
    assert {(c["temperature"], c["alpha"]): c["validation"] for c in record["cells"]} == {
        cell: value for cell, value in found.items() if cell[0] is not None
    }
    assert "Best: temperature" in result.stdout
    assert (small / "a.html").read_text().count("<svg") == 1
    assert not (small / "student.safetensors").exists()


def test_the_test_split_is_not_scored(invoke, small, monkeypatch):
    seen = []
    real = trying.evaluate
    monkeypatch.setattr(
        trying, "evaluate", lambda model, loader: (seen.append(loader), real(model, loader))[1]
    )
    assert invoke("distill", *WORDS).exit_code == 0
    validate = make_batches("mynet:data").validate
    assert len(seen) == 5
    assert all(len(loader) == len(validate) and loader[0][0].equal(validate[0][0]) for loader in seen)


def test_it_goes_on_where_it_was(invoke, small, monkeypatch):
    assert invoke("distill", *WORDS).exit_code == 0
    whole = (small / "g.jsonl").read_text()
    (small / "g.jsonl").write_text("".join(whole.splitlines(keepends=True)[:3]))
    runs = []
    real = trying.distill_once
    monkeypatch.setattr(trying, "distill_once", lambda *a, **k: (runs.append(1), real(*a, **k))[1])
    assert invoke("distill", *WORDS).exit_code == 0
    assert len(runs) == 2
    assert (small / "g.jsonl").read_text() == whole
    assert invoke("distill", *WORDS, "--seed", "1").exit_code == 0
    assert len(runs) == 6, "lines of another seed are not those of this"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--alpha", "0.5", "--out", "a.safetensors"), "--alpha, --out would do nothing with --grid"),
        (
            ("--temperature", "2", "--no-baseline"),
            "--temperature, --no-baseline would do nothing with --grid",
        ),
        (("--values", "fp16"), "--values would do nothing with --grid"),
        (("--grid", "nowhere/g.jsonl"), "--grid 'nowhere/g.jsonl': its folder does not exist"),
        (("--loss", "hints"), "temperature would do nothing"),
    ],
)
def test_what_is_refused(refused, small, words, says):
    assert says in " ".join(refused("distill", *WORDS, *words).split())
    assert not (small / "g.jsonl").exists()


def test_a_file_of_something_else_is_refused(refused, small):
    (small / "g.jsonl").write_text("# notes\n")
    assert "line 1 is no record of a grid" in " ".join(refused("distill", *WORDS).split())
    assert (small / "g.jsonl").read_text() == "# notes\n"
