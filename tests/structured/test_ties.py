"""Groups that one number of a forward views are cut alike, so that the class can stay."""

import copy

import pytest
import torch
from torch import nn

from featherweight.core.trace import trace
from featherweight.structured.axes import trace_axes
from featherweight.structured.groups import find_groups
from featherweight.structured.prune import prune_structured
from featherweight.structured.ties import Tie, find_ties

INPUTS = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    """Views queries, keys and values with one number; the channels of the first two go in pairs."""

    def __init__(self, pairs=False):
        super().__init__()
        self.heads, self.head_dim, self.pairs = 4, 8, pairs
        self.q, self.k, self.v = (nn.Linear(24, 32) for _ in range(3))
        self.proj = nn.Linear(32, 24)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (
            f(x).view(n, t, self.heads, self.head_dim).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        if self.pairs:
            q, k = (
                torch.cat([-h[..., self.head_dim // 2 :], h[..., : self.head_dim // 2]], -1) + h
                for h in (q, k)
            )
        mixed = torch.softmax(q @ k.transpose(-1, -2) * 0.3, dim=-1) @ v
        return x + self.proj(mixed.transpose(1, 2).reshape(n, t, self.heads * self.head_dim))


def network(pairs):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 24), Attention(pairs), nn.Linear(24, 3)).eval()
    with torch.no_grad():  # values matter far more: without a tie only queries and keys would be cut
        model[1].v.weight.mul_(5)
    return model


@pytest.mark.parametrize("pairs", [False, True])
def test_queries_and_values_keep_equally_many(pairs):
    whole = network(pairs)
    tracing = trace_axes(trace(whole, INPUTS))
    groups = find_groups(tracing)
    (tie,) = find_ties(tracing, groups)
    assert tie.size == 8
    assert {len(groups[group]) * indices for group, indices in tie.members} == {8}
    small, surgery = prune_structured(copy.deepcopy(whole), INPUTS, keep=0.5)
    attention = small[1]
    assert type(attention) is Attention
    assert attention.head_dim < 8
    assert len(attention.q.weight) == len(attention.v.weight) == attention.heads * attention.head_dim
    kept = sum(after for *_, after in surgery.widths)
    assert kept <= 0.5 * sum(before for _, before, _ in surgery.widths)


def test_the_widest_counts_and_multiples_hold():
    tie = Tie(((0, 1), (2, 2)), 48)
    assert tie.wide_enough([9, 5, 8], [1, 1, 1]) == {0: 16, 2: 8}
    assert tie.wide_enough([17, 5, 8], [1, 1, 1]) == {0: 18, 2: 9}
    assert tie.wide_enough([16, 5, 8], [16, 1, 8]) == {0: 16, 2: 8}
    assert tie.wide_enough([17, 5, 8], [16, 1, 16]) == {0: 32, 2: 16}
    assert tie.wide_enough([47, 5, 1], [16, 1, 16]) == {0: 48, 2: 24}


class Rotary(Attention):
    """Turns queries and keys by tables, which their channels cannot be cut from; values are tied to them."""

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (
            f(x).view(n, t, self.heads, self.head_dim).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        turn = torch.arange(t)[:, None] * torch.arange(self.head_dim)
        q, k = q * turn.cos(), k * turn.cos()
        mixed = torch.softmax(q @ k.transpose(-1, -2) * 0.3, dim=-1) @ v
        return x + self.proj(mixed.transpose(1, 2).reshape(n, t, self.heads * self.head_dim))


def test_what_is_tied_to_a_dimension_that_is_never_cut_stays_whole():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 24), Rotary(), nn.Linear(24, 3)).eval()
    small, _ = prune_structured(model, INPUTS, keep=0.5)
    assert type(small[1]) is Rotary
    assert small[1].head_dim == 8
    assert small[1].heads < 4
    assert small(torch.randn(2, 9, 5)).shape == (2, 9, 3)
