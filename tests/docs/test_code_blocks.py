"""Every Python block of README, CONTRIBUTING and docs runs; every command that they name exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import featherweight as fw
from featherweight.sparsity.criteria import criteria
from featherweight.structured.importance import importances
from featherweight.zoo._registry import data_sets
from featherweight.zoo.data.splits import Splits, split

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text()) if kind == language]


def pages_with(language: str) -> list[Any]:
    return [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES if blocks(p, language)]


def few_images() -> Splits:
    """Stand in for Fashion-MNIST: 10 kinds of noise, so that the default settings take seconds."""
    labels = torch.arange(512) % 10
    images = (torch.rand(10, 1, 28, 28)[labels] * 255).to(torch.uint8)
    data = images, labels
    return split(
        "fashion_mnist",
        data,
        data,
        validation=128,
        classes=[str(label) for label in range(10)],
        source="noise",
        flip=True,
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty folder, on little data, and forget what a page registers."""
    monkeypatch.chdir(tmp_path)
    for registry in (criteria, importances):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setattr(data_sets, "_entries", data_sets._entries | {"fashion_mnist": few_images})
    torch.manual_seed(0)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", pages_with("python"))
def test_python_blocks_run(page: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "page"}
    for body in blocks(page, "python"):
        exec(compile(body, str(page), "exec"), namespace)  # one namespace a page, as a reader would have


def test_a_failing_block_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nassert 1 + 1 == 3\n```\n")
    with pytest.raises(AssertionError):
        test_python_blocks_run(page)


@pytest.mark.parametrize("page", pages_with("bash"))
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word for body in blocks(page, "bash") for word in re.findall(r"^make ([a-z-]+)", body, re.MULTILINE)
    }
    assert named <= targets


def test_the_readme_names_the_two_commands() -> None:
    commands = "\n".join(blocks(ROOT / "README.md", "bash"))
    assert "make demo" in commands
    assert "make test" in commands


def test_what_the_readme_shows_is_public() -> None:
    shown = set(re.findall(r"\bfw\.(\w+)", (ROOT / "README.md").read_text()))
    assert shown <= set(fw.__all__)
    assert {"prune", "progressive_prune", "save", "load", "evaluate", "count_params"} <= shown
