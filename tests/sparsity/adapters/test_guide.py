"""The examples of the guide that need a library of others; tests/docs runs the rest of the page."""

import importlib.util
import re
import warnings
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "your-own-loop.md"
BLOCKS = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("library", ["transformers", "lightning"])
def test_the_example_of_the_guide_runs(library, tmp_path, monkeypatch):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    (body,) = [body for body in BLOCKS if f"import {library}" in body]
    names = {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(body, str(PAGE), "exec"), names)
    masks = names["pruning"].pruner.masks
    assert masks.kept == round(0.1 * masks.numel)
