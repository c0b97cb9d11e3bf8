"""Cuts of whole networks, for the tests of what is done with them."""

import numpy as np
import pytest
import torch
from torch import nn

from featherweight.core.trace import trace
from featherweight.structured.axes import trace_axes
from featherweight.structured.cut import Cut
from featherweight.structured.groups import find_groups


@pytest.fixture
def cut_of():
    """Return a function that cuts a share of each group of a model at random."""

    def cut(model, inputs, share=0.5, seed=0):
        tracing = trace_axes(trace(model, inputs))
        random = np.random.default_rng(seed)
        removed = []
        for group in find_groups(tracing):
            removed += random.permutation(group.units)[: int(share * len(group))].tolist()
        return Cut(tracing, removed)

    return cut


class Written(nn.Module):
    """Has a size written into its forward."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)).view(-1, 12))


@pytest.fixture
def written():
    """Return a class whose attributes cannot be set to fewer channels."""
    return Written
