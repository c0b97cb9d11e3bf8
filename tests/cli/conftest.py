"""The command line, called in this process and in an empty folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from featherweight.cli import app

Invoke = Callable[..., Result]

MYNET = """
import torch

def net():
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))

def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 8, generator=generator)
    targets = inputs[:, :3].argmax(1)
    batches = [(inputs[i : i + 16], targets[i : i + 16]) for i in range(0, 96, 16)]
    return batches[:4], batches[4:5], batches[5:]

def two():
    return data()[:2]

class Splits:
    def __init__(self):
        self.train, self.validation, self.test = data()

def broken(): raise RuntimeError("it is broken")
def number(): return 7
def four(): return [1, 2, 3, 4]
def generator(): return (x for x in data()[0]), data()[1]
def triples(): return [(1, 2, 3)], [(1, 2, 3)]
def empty(): return [], data()[1]
def wide(): return [(torch.zeros(4, 9), torch.zeros(4).long())], data()[1]
def classes(): return [(torch.zeros(4, 8), torch.full((4,), 7))], data()[1]
def leaves(): raise SystemExit(3)
def dataset(): return torch.utils.data.TensorDataset(torch.zeros(4, 8), torch.zeros(4)), data()[1]
constant = 3
"""
MORE = """
def more(): return torch.nn.Linear(16, 16), torch.nn.ReLU()

class Tokens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(9, 8)
        self.inner, self.head = torch.nn.Linear(8, 6), torch.nn.Linear(6, 3)

    def forward(self, ids, mask):
        return self.head(self.inner(self.embedding(ids)) * mask[..., None]).mean(1)

def sorted_data():
    train, validate, _ = data()
    return train, [(torch.full((8, 8), float(i)), torch.full((8,), i // 4)) for i in range(12)]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run in an empty folder; modules that are imported from it are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("FEATHERWEIGHT_DEBUG", "0")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def mynet(folder: Path) -> Path:
    """A folder with a network and data of the user's own."""
    (folder / "mynet.py").write_text(MYNET)
    torch.manual_seed(0)
    return folder


@pytest.fixture
def deeper(mynet: Path) -> Path:
    """mynet:net with two layers that can be cut."""
    source = (mynet / "mynet.py").read_text().replace("ReLU(),", "ReLU(), *more(),")
    (mynet / "mynet.py").write_text(source + MORE)
    return mynet


@pytest.fixture
def invoke(folder: Path) -> Invoke:
    """Call ``featherweight`` with words; only SystemExit may come out of it."""

    def call(*words: str | Path) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


@pytest.fixture
def refused(invoke: Invoke) -> Callable[..., str]:
    """Call ``featherweight`` with words that it must refuse; return what it says."""

    def call(*words: str | Path) -> str:
        result = invoke(*words)
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
        return result.stderr

    return call
