"""What reaches nothing stays, and a sum is cut only where what goes is zero."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.trace import trace
from featherweight.structured.axes import trace_axes
from featherweight.structured.groups import find_groups
from featherweight.structured.prune import prune_structured

X = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0))


class Table(nn.Module):
    """Uses as many rows of a table as there are positions, after something else was done with all of them."""

    def __init__(self, use):
        super().__init__()
        self.inner, self.outer, self.use = nn.Linear(5, 16), nn.Linear(16, 3), use
        self.position, self.other = nn.Parameter(torch.randn(1, 64, 16)), nn.Parameter(torch.randn(1, 64, 16))

    def forward(self, x):
        return self.outer(torch.relu(self.inner(x) + self.use(self, x.shape[1])))


USES = {
    "scaled": lambda m, t: (m.position * 0.5)[:, :t],
    "tanh": lambda m, t: torch.tanh(m.position)[:, :t],
    "turned": lambda m, t: m.position.transpose(1, 2)[:, :, :t].transpose(1, 2),
    "added": lambda m, t: (m.position + m.other)[:, :t],
    "joined": lambda m, t: torch.cat([m.other[:, :1], m.position], 1)[:, :t],
    "normed": lambda m, t: F.normalize(m.position, dim=-1)[:, :t],
}


@pytest.mark.parametrize("use", USES.values(), ids=list(USES))
def test_rows_that_longer_inputs_need_stay(use):
    torch.manual_seed(0)
    whole = Table(use).eval()
    small, surgery = prune_structured(copy.deepcopy(whole), X, keep=0.5)
    assert small.position.shape[1] == 64
    assert small.position.shape[2] < 16
    with torch.no_grad():
        for name, dims in surgery.kept.items():
            for dim, kept in dims.items():
                gone = [i for i in range(whole.get_parameter(name).shape[dim]) if i not in kept]
                whole.get_parameter(name).index_fill_(dim, torch.tensor(gone), 0)
        longer = torch.randn(2, 40, 5)
        torch.testing.assert_close(small(longer), whole(longer), rtol=1e-4, atol=1e-5)


class Summed(nn.Module):
    def __init__(self, total):
        super().__init__()
        self.inner, self.outer, self.total = nn.Linear(5, 16), nn.Linear(16, 3), total

    def forward(self, x):
        h = self.inner(x)
        return self.outer(h * self.total(h))


SUMS = {
    "exp": (lambda h: h.exp().sum(-1, keepdim=True), False),
    "cos": (lambda h: h.cos().sum(-1, keepdim=True), False),
    "added": (lambda h: (h + 1).sum(-1, keepdim=True), False),
    "itself": (lambda h: h.sum(-1, keepdim=True), True),
    "relu": (lambda h: (torch.relu(h) * h.exp()).sum(-1, keepdim=True), True),
    "squares": (lambda h: h.pow(2).sum(-1, keepdim=True), True),
}


@pytest.mark.parametrize(("total", "cut"), SUMS.values(), ids=list(SUMS))
def test_a_sum_of_what_is_not_zero_is_not_cut(total, cut):
    torch.manual_seed(0)
    model = Summed(total).eval()
    tracing = trace_axes(trace(model, X))
    assert bool(find_groups(tracing)) is cut
    if not cut:
        assert any("not zero where a channel is" in str(why) for f in tracing.frozen for why in f.reasons)
        return
    zeroed = copy.deepcopy(model)
    small, surgery = prune_structured(model, X, keep=0.5)
    gone = [i for i in range(16) if i not in surgery.kept["inner.weight"][0]]
    with torch.no_grad():
        zeroed.inner.weight[gone], zeroed.inner.bias[gone] = 0, 0
        torch.testing.assert_close(small(X), zeroed(X), rtol=1e-4, atol=1e-5)
