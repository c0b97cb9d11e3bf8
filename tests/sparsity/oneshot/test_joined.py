"""Which batches are joined, and what a network is like after it was tried on some examples."""

from collections import namedtuple

import pytest
import torch
from oneshot_toy import quietly, trained
from torch import nn

from featherweight.core.prunable import find_prunable
from featherweight.sparsity.oneshot import prune_oneshot
from featherweight.sparsity.oneshot._joined import NotJoinedError, joined

Pair = namedtuple("Pair", "x y")


class Adds(nn.Module):
    def forward(self, x, y=0, labels=None, scale=1.0):
        return (x.x + x.y if isinstance(x, Pair) else x + y) * scale


@pytest.mark.parametrize(
    "form",
    [
        lambda x: (x, torch.zeros(len(x))),
        lambda x: (x, ["no", "tensors"]),
        lambda x: x,
        lambda x: ((x, x), None),
        lambda x: {"x": x, "labels": torch.zeros(len(x))},
        lambda x: {"x": x, "scale": 2.0},
        lambda x: (Pair(x, x), None),
    ],
)
def test_forms_of_batches(form):
    parts = [torch.randn(n, 3) for n in (5, 5, 1)]
    whole = joined(Adds(), [], [form(part) for part in parts], float("inf"))
    assert torch.equal(Adds()(*_given(whole)), Adds()(*_given(form(torch.cat(parts)))))


def _given(batch):
    if isinstance(batch, dict):
        return batch["x"], 0, None, batch.get("scale", 1.0)
    x = batch[0] if isinstance(batch, list | tuple) else batch
    return x if isinstance(x, tuple) and not isinstance(x, Pair) else (x,)


class OverTime(nn.Module):
    """The second dimension counts the examples."""

    def forward(self, x):
        return x.cumsum(0)


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand(())


X = torch.arange(12.0).view(4, 3)


@pytest.mark.parametrize(
    ("model", "batches", "reason"),
    [
        (OverTime(), [X, X], "are others than"),
        (Noisy(), [X, X], "are others than"),
        (nn.BatchNorm1d(3, track_running_stats=False), [X, 2 * X + 1], "are others than"),
        (Adds(), [X, X[:, :2]], "several lengths"),
        (Adds(), [X, X.double()], "shape or type"),
        (Adds(), [(X, None), {"x": X}], "several types"),
        (Adds(), [{"x": X}, {"x": X, "y": X}], "sets of entries"),
        (Adds(), [{"x": X, "scale": 1.0}, {"x": X, "scale": 2.0}], "hold a float each that differs"),
        (Adds(), [{"x": X, "y": X[:1]}] * 2, "an entry for each example"),
        (Adds(), [{"x": X, "y": torch.tensor(1.0)}] * 2, "an entry for each example"),
        (Adds(), [X[:0], X], "an entry for each example"),
        (Adds(), [{"x": X, "y": [0.0] * 4}] * 2, "holds a list without tensors"),
        (Adds(), [{"x": X, "scale": torch.device("cpu")}] * 2, "holds a device"),
        (nn.Unflatten(0, (4, 1)), [X, X], "on a few of the examples the network fails"),
        (nn.Linear(3, 10_000), [X, X], "would take about"),
    ],
)
def test_batches_that_are_not_joined(model, batches, reason):
    with torch.no_grad(), pytest.raises(NotJoinedError, match=reason):
        joined(model.eval(), [], batches, 100_000)
    assert joined(model, [], batches[:1], 0) is batches[0]


def test_the_estimate_grows_with_the_data():
    model = nn.Sequential(nn.Linear(3, 1000), nn.ReLU(), nn.Linear(1000, 2))  # two tensors of 1000 at a time
    joined(model, [], [(X, None)] * 10, 40 * 8000)
    with pytest.raises(NotJoinedError):
        joined(model, [], [(X, None)] * 11, 40 * 8000)


class Scaled(nn.Linear):
    """Computes a weight that is much larger than the data."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight * torch.ones(3000, 1))


def test_what_does_not_grow_is_not_counted_for_each_example():
    joined(Scaled(3, 3000), [], [(X, None)] * 10, 40 * 12000 + 40_000)


class Last(nn.Module):
    """Forgets all but some of what its layers make."""

    def __init__(self, mixing, end):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(3, 8), nn.Linear(8, 8)
        self.mixing, self.end = mixing, end

    def forward(self, x):
        return self.end(self.b(self.mixing(self.a(x))))


def mixed(x):
    return x - x.mean(0)


@pytest.mark.parametrize(
    "end",
    [
        lambda y: y.masked_fill(torch.arange(8) == 0, -1e9),
        lambda y: y + 2000,
        lambda y: y.mean(),
        lambda y: (y.mean(), torch.zeros(len(y))),
        lambda y: y.sigmoid() > 2,
        lambda y: {"loss": y.sum()},
    ],
)
def test_layers_that_get_something_else_are_seen_behind_any_output(end):
    model = Last(mixed, end)
    weights = find_prunable(model).weights
    with pytest.raises(NotJoinedError, match=r"b\.weight gets something else"):
        joined(model, weights, [X, X + 1], float("inf"))
    joined(Last(torch.relu, end), weights, [X, X + 1], float("inf"))


class Capacity(nn.Module):
    """Routes at most half of the examples, as experts of limited capacity do."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        half = max(2, len(x) // 2)
        return torch.cat([self.a(x[:half]), self.b(x[half:])])


def test_examples_that_are_routed_by_their_place():
    model = Capacity()
    with pytest.raises(NotJoinedError, match="gets something else"):
        joined(model, find_prunable(model).weights, [X, X + 1], float("inf"))


class Begins(nn.Module):
    """Keeps a state from batch to batch, a buffer, and a scale that its first batch sets."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.out, self.state = nn.Linear(8, 8), nn.Linear(8, 8), None
        self.scale = nn.Parameter(torch.ones(8), requires_grad=False)
        self.register_buffer("begun", torch.tensor(False))

    def forward(self, x):
        x = self.inner(x)
        if not self.begun:
            self.scale.copy_(x.std(0))
            self.begun.fill_(True)
        if self.state is None:
            self.state = torch.zeros_like(x)
        self.state = 0.5 * self.state + x / self.scale
        return self.out(self.state)


@pytest.mark.parametrize("limit", [None, 0])
def test_a_trial_leaves_nothing_behind(limit):
    data = [(torch.randn(16, 8), None)] * 3
    model = Begins()
    quietly(model, 0.5, data, memory_limit=limit)
    wanted = Begins()
    with torch.no_grad():
        wanted(data[0][0])
    assert torch.allclose(model.scale, wanted.scale, rtol=1e-2)


def test_data_that_the_network_fails_on_together_have_a_pass_a_layer(capsys, own_passes):
    class Table(nn.Linear):
        def forward(self, x):
            return super().forward(x * torch.ones(32, 8)[: len(x)])

    prune_oneshot(nn.Sequential(Table(8, 8), nn.Linear(8, 8)), 0.5, [(torch.randn(16, 8), None)] * 4)
    assert own_passes == ["0", "1"]
    assert "on all of them the network fails: The size of tensor a" in capsys.readouterr().err


def nested(x):
    return torch.nested.nested_tensor(list(x), layout=torch.jagged)


@pytest.mark.parametrize("kind", [torch.Tensor.to_sparse, nested])
def test_sparse_and_nested_batches_are_not_joined(kind):
    with pytest.raises(NotJoinedError, match="sparse or nested"):
        joined(Adds(), [], [kind(X)] * 2, float("inf"))


def test_what_only_some_batches_use_is_pruned_where_it_runs():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.a, self.b, self.last = (nn.Linear(8, 8) for _ in range(4))

        def forward(self, x):
            x = self.first(x)
            return self.last(self.a(x) if len(x) < 20 else self.b(x))

    model = Experts()
    masks = quietly(model, 0.5, [(torch.randn(n, 8), None) for n in (16, 32)], memory_limit=0)
    assert [layer.name[0] for layer in masks.layers] == ["f", "b", "a", "l"]


def test_why_there_is_a_pass_a_layer_is_said(capsys):
    model, data = trained("linear", 0)
    prune_oneshot(model, 0.5, data)
    assert "cannot be joined" not in capsys.readouterr().err
    noisy = nn.Sequential(model, Noisy())
    prune_oneshot(noisy, 0.6, data)
    assert "as they cannot be joined: for examples together" in capsys.readouterr().err
