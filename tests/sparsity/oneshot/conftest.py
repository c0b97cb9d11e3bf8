"""Layers to be pruned: random weights, inputs that depend on each other; and which layers have own passes."""

import sys
from pathlib import Path

import pytest
import torch

from featherweight.sparsity.oneshot import LayerProblem
from featherweight.sparsity.oneshot._passes import Passes
from featherweight.sparsity.patterns import row_pattern

sys.path.append(str(Path(__file__).parent))  # oneshot_toy


@pytest.fixture
def make_problem():
    def make(
        outputs=6, inputs=8, positions=1, groups=1, keep=0.5, pattern="unstructured", seed=0, **settings
    ):
        torch.manual_seed(seed)
        columns = positions * inputs
        causes = torch.randn(groups, columns // 2, columns, dtype=torch.float64)
        x = torch.randn(groups, 8 * columns, columns // 2, dtype=torch.float64) @ causes
        x = x + 0.3 * torch.randn(x.shape, dtype=torch.float64)
        x = x * torch.logspace(-0.7, 0.7, columns, dtype=torch.float64)[torch.randperm(columns)]
        weights = torch.randn(outputs, positions, inputs, dtype=torch.float64)
        kept = round(keep * weights.numel())
        hessian = x.mT @ x / x.shape[1]
        return LayerProblem(weights, hessian, kept, row_pattern(pattern), **{"damping": 0.01, **settings})

    return make


@pytest.fixture
def own_passes(monkeypatch):
    """Names of the weights that have a pass of their own."""
    names, moments = [], Passes.moments

    def noted(self, weight, *args):
        names.append(weight.name.removesuffix(".weight"))
        return moments(self, weight, *args)

    monkeypatch.setattr(Passes, "moments", noted)
    return names
