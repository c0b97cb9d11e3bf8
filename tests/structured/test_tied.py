"""Tied weights are one tensor: counted once, known by any of its names, cut with their optimizer state."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.trace import trace
from featherweight.structured.axes import trace_axes
from featherweight.structured.checkpoint import load, save
from featherweight.structured.choose import Selecting, rank
from featherweight.structured.groups import find_groups
from featherweight.structured.importance import importances
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


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(x)))


class Decoder(nn.Module):
    """Two layers; ties as ``kind`` says."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.e, self.head = kind, nn.Embedding(12, 16), nn.Linear(16, 12, bias=False)
        first, second = Block(), Block()
        if kind == "one layer twice":
            second = first
        if kind == "layers of the same tensors":
            for name, parameter in first.named_parameters():
                path, _, own = name.rpartition(".")
                setattr(second.get_submodule(path), own, parameter)
        if kind == "embedding":
            self.head.weight = self.e.weight
        self.layers = nn.ModuleList([first, second])

    def forward(self, tokens):
        x = self.e(tokens)
        for layer in self.layers:
            x = layer(x)
        if self.kind == "transposed":
            up = self.layers[0].up.weight
            x = x + F.linear(F.relu(F.linear(x, up)), up.t())
        return self.head(x)


KINDS = ["embedding", "one layer twice", "layers of the same tensors", "transposed"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_tie_is_cut_saved_and_loaded_as_one(kind, tmp_path):
    torch.manual_seed(0)
    model = Decoder(kind)
    before, names = sum(p.numel() for p in model.parameters()), set(dict(model.named_parameters()))
    small, surgery = prune_structured(model, TOKENS, keep=0.5, scope="group")
    assert surgery.difference < 1e-4
    assert surgery.params == (before, sum(p.numel() for p in small.parameters()))
    assert surgery.params[1] < 0.5 * before
    save(small, tmp_path / "small.safetensors")
    loaded = load(tmp_path / "small.safetensors", into=Decoder(kind))
    assert set(dict(small.named_parameters())) == set(dict(loaded.named_parameters())) == names
    assert torch.equal(loaded.eval()(TOKENS), small.eval()(TOKENS))


@pytest.mark.parametrize("criterion", [*importances, "magnitude"])
@pytest.mark.parametrize("kind", KINDS)
def test_criteria_rank_tied_units(kind, criterion):
    torch.manual_seed(0)
    model = Decoder(kind).eval()
    tracing = trace_axes(trace(model, TOKENS))
    how = Selecting(criterion, data=[(TOKENS, TOKENS)], loss=lambda x, y: F.cross_entropy(x.mT, y))
    for scores in rank(model, tracing, find_groups(tracing), how).scores:
        assert scores.std() > 0
