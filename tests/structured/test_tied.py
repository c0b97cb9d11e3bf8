"""Tied weights are one tensor: counted once, known by any of its names, cut with their optimizer state."""

import pytest
import torch
from torch import nn

from featherweight.structured.prune import prune_structured

TOKENS = torch.arange(12).view(2, 6)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.mid, self.out = nn.Embedding(12, 16), nn.Linear(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(16, 12, bias=False)
        self.head.weight = self.e.weight

    def forward(self, tokens):
        return self.head(self.out(torch.relu(self.mid(self.e(tokens)))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Tied()


def test_it_is_counted_once(model):
    before = sum(p.numel() for p in model.parameters())
    small, surgery = prune_structured(model, TOKENS, params=0.5)
    assert surgery.params == (before, sum(p.numel() for p in small.parameters()))
    assert surgery.reached.predicted == surgery.reached.achieved
    assert not any("no operation used it" in str(f.reasons) for f in surgery.frozen)


@pytest.mark.parametrize("name", ["e", "head", "head.weight"])
def test_any_of_its_names_is_skipped(model, name):
    prune_structured(model, TOKENS, keep=0.5, scope="group", skip=[name])
    assert model.e.weight.shape == (12, 16)
    assert len(model.mid.weight) == 12


def test_its_state_is_cut(model):
    optimizer = torch.optim.Adam(model.parameters())
    model(TOKENS).square().mean().backward()
    optimizer.step()
    prune_structured(model, TOKENS, keep=0.5, scope="group", optimizer=optimizer)
    assert model.e.weight is model.head.weight
    assert model.e.weight.shape == optimizer.state[model.e.weight]["exp_avg"].shape == (12, 8)
    model(TOKENS).square().mean().backward()
    optimizer.step()
