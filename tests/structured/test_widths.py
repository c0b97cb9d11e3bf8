"""Widths are those of the tensors, also after several surgeries."""

import copy

import torch
from torch import nn

import featherweight as fw
from featherweight.structured.widths import widths

EXAMPLE = torch.randn(2, 8)


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))


def test_of_two_surgeries():
    model = mlp()
    once, surgery = fw.prune_structured(copy.deepcopy(model), EXAMPLE, params=0.6)
    assert widths(model, once, EXAMPLE) == surgery.widths
    twice, second = fw.prune_structured(copy.deepcopy(once), EXAMPLE, params=0.4, criterion="random")
    assert widths(once, twice, EXAMPLE) == second.widths
    assert widths(model, twice, EXAMPLE) == (
        ("0.weight", 32, twice[0].weight.shape[0]),
        ("2.weight", 16, twice[2].weight.shape[0]),
    )
    assert twice[0].weight.shape[0] < once[0].weight.shape[0] < 32


def test_of_none():
    model = mlp()
    assert widths(model, copy.deepcopy(model), EXAMPLE) == (("0.weight", 32, 32), ("2.weight", 16, 16))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out, self.heads, self.size = nn.Linear(24, 72), nn.Linear(24, 24), 4, 6

    def forward(self, x):
        parts = self.qkv(x).view(x.shape[0], x.shape[1], 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*parts)
        return self.out(mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], self.heads * self.size))


def test_of_heads_and_their_channels():
    torch.manual_seed(0)
    model, example = Attention(), torch.randn(2, 5, 24)
    small, surgery = fw.prune_structured(copy.deepcopy(model), example, params=0.5)
    assert widths(model, small, example) == surgery.widths
    assert surgery.widths == (("qkv.weight", 4, small.heads),)
    assert small.heads < 4
