"""The page about a network of one's own, as a reader follows it: the file, the weights, the commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import torch

import featherweight as fw

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "your-own-network.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def run(program: str, *arguments: str, folder: Path) -> str:
    path = Path(sys.executable).with_name(program)  # the commands that pip put beside this Python
    ran = subprocess.run([path, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return ran.stdout


def test_the_page_works_for_its_reader(tmp_path: Path) -> None:
    mine, weights, *_ = blocks("python")
    (tmp_path / "mine.py").write_text(mine)
    (tmp_path / "train.py").write_text(f"from mine import data, network\n{weights}")
    dense = float(run("python", "train.py", folder=tmp_path))
    prune, *inspections = blocks("bash")[0].splitlines()
    run(*prune.split(), "--json", "out.json", folder=tmp_path)
    shown = [run(*line.split(), folder=tmp_path) for line in inspections]

    figures = json.loads((tmp_path / "out.json").read_text())
    assert dense > 0.9  # the weights are trained: else keeping their accuracy would show nothing
    assert figures["accuracy_after"] > dense - 0.05
    state = fw.load(tmp_path / "small.safetensors")
    weights_kept = sum(int(torch.count_nonzero(t)) for t in state.values() if t.ndim == 2)
    assert weights_kept == round(0.1 * (64 * 256 + 256 * 10))
    assert all("0.weight" in text for text in shown)
