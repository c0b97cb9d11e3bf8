"""Batches that are joined, and layers that are pruned as a forward pass comes to them."""

from collections import namedtuple

import pytest
import torch
from oneshot_toy import NETWORKS, quietly, state, trained
from torch import nn

from featherweight.core.prunable import find_prunable
from featherweight.sparsity.layer_inputs import EnoughError
from featherweight.sparsity.oneshot import Solution, methods, prune_oneshot
from featherweight.sparsity.oneshot._joined import NotJoinedError, joined
from featherweight.sparsity.oneshot._passes import Passes


def close(a, b, atol=1e-5):
    return all(torch.allclose(a[name], b[name], atol=atol, rtol=1e-4) for name in b)


def both_ways(make, data, **settings):
    """Return the networks pruned with a pass, and with a pass a layer."""
    found = []
    for limit in (None, 0):
        model = make()
        quietly(model, 0.5, data, memory_limit=limit, **settings)
        found.append(model)
    return found


@pytest.fixture
def own_passes(monkeypatch):
    """Names of the weights that have a pass of their own."""
    names, moments = [], Passes.moments

    def noted(self, weight, *args):
        names.append(weight.name.removesuffix(".weight"))
        return moments(self, weight, *args)

    monkeypatch.setattr(Passes, "moments", noted)
    return names


@pytest.mark.parametrize("batches", [1, 4])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_network_is_the_same_as_with_a_pass_a_layer(network, batches):
    _, data = trained(network)
    once, each = both_ways(lambda: trained(network)[0], data[:batches], batch_norm="keep")
    assert close(state(once), state(each))


def test_with_one_batch_norms_are_the_same_too():
    _, data = trained("convolutional")
    once, each = both_ways(lambda: trained("convolutional")[0], data[:1])
    assert close(state(once), state(each), atol=1e-4)


def test_all_data_go_through_the_network_together(own_passes):
    model, data = trained("convolutional")
    sizes = []
    model[0].register_forward_hook(lambda m, a, y: sizes.append(len(y)))
    quietly(model, 0.5, data, batch_norm="keep")
    assert not own_passes
    assert sizes == [4, 4, 8, 4, 8, 256, 256]  # tried on few; a pass finds the layers, the other prunes them
    sizes.clear()
    quietly(model, 0.6, data, batch_norm="keep", memory_limit=0)
    assert len(own_passes) == 5
    assert set(sizes) == {64}


def test_layers_see_norms_as_they_are_at_last():
    seen, (model, data) = {}, trained("convolutional")

    def method(problem):
        seen.setdefault(problem.weights.shape, problem.hessian.clone())
        return methods["magnitude"](problem)

    quietly(model, 0.8, data, method=method)
    inputs = []
    model[3].register_forward_pre_hook(lambda m, a: inputs.append(a[0]))
    with torch.no_grad():
        model(torch.cat([x for x, _ in data]))
    squares = nn.functional.unfold(inputs[0][:, :4], 3, stride=2).square().mean((0, 2))
    hessian = seen[(16, 9, 4)][0].diagonal().float().view(9, 4).T.flatten()  # inputs change fastest
    assert torch.allclose(hessian, squares, rtol=1e-3)


class Uneven(nn.Module):
    """A layer used twice, one that batches come to out of order, and one that is used again behind others."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.twice, self.second, self.again, self.last = (nn.Linear(8, 8) for _ in range(5))

    def forward(self, x):
        x = self.twice(self.twice(self.first(x)).relu()).relu()
        return self.last(self.again(self.second(self.again(x).relu()).relu()).relu())


def test_layers_that_are_used_several_times_have_a_pass(own_passes):
    data = [(torch.randn(n, 8), None) for n in (30, 10)]
    quietly(Uneven(), 0.5, data)
    assert own_passes == ["twice", "again"]
    once, each = both_ways(Uneven, data)
    assert close(state(once), state(each))


class Turning(nn.Module):
    """Comes to its layers in another order once the first one is pruned, or to one of them never more."""

    def __init__(self, skips):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.a, self.b, self.last = (nn.Linear(8, 8) for _ in range(4))
        self.skips = skips

    def forward(self, x):
        x = self.first(x).relu()
        if not bool((self.first.weight == 0).any()):
            return self.last(self.b(self.a(x)))
        return self.last(self.b(x) if self.skips else self.a(self.b(x)))


def test_an_order_that_changes(own_passes):
    data = [(torch.randn(30, 8), None)]
    once, each = both_ways(lambda: Turning(skips=False), data)
    assert own_passes[0] == "a"  # the pass comes to "b" first
    assert close(state(once), state(each))
    with pytest.raises(Exception, match="no input reached some of its outputs"):
        quietly(Turning(skips=True), 0.5, data)


class Normed(nn.Module):
    """A norm called twice, with a layer behind it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm, self.once = nn.BatchNorm1d(8), nn.BatchNorm1d(8)

    def forward(self, x):
        x = self.norm(self.norm(self.first(x)).relu())
        return self.last(self.once(self.second(x)).relu())


class Behind(Normed):
    """A norm right behind it."""

    def forward(self, x):
        x = self.once(self.norm(self.norm(self.first(x)).relu()).relu())
        return self.last(self.second(x).relu())


@pytest.mark.parametrize("kind", [Normed, Behind])
def test_a_layer_behind_a_norm_that_is_called_twice_has_a_pass(kind, own_passes):
    data = [(torch.randn(40, 8), None)]
    quietly(kind().eval(), 0.5, data)
    assert own_passes == ["second"]
    once, each = both_ways(lambda: kind().eval(), data)
    assert close(state(once), state(each), atol=1e-4)


@pytest.mark.parametrize("limit", [None, 0])
def test_within_autocast_layers_see_the_pruned_layers_before_them(limit):
    """Autocast keeps the weights that it rounded, also when they change."""
    seen = []

    def spy(problem):
        seen.append(float(problem.hessian.diagonal(dim1=-2, dim2=-1).sum()))
        return Solution(torch.zeros_like(problem.weights), torch.zeros_like(problem.weights).bool())

    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
    x = torch.randn(64, 8)
    with torch.autocast("cpu"):
        model(x)
        quietly(model, 0.5, [(x, None)], method=spy, memory_limit=limit)
        assert not bool(model(x).any())
    assert seen[0] > 0 == seen[1]


@pytest.mark.parametrize("limit", [None, 0])
def test_a_network_may_infer_and_its_masks_can_be_trained_with(limit):
    class Infers(nn.Sequential):
        @torch.inference_mode()
        def forward(self, x):
            return super().forward(x)

    torch.manual_seed(0)
    model = Infers(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    masks = quietly(model, 0.5, [(torch.randn(64, 8), None)] * 2, memory_limit=limit)
    weight = model[0].weight
    (weight * masks["0.weight"].keep).sum().backward()
    assert bool((weight.grad != 0).any())


class Catches(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.twice, self.last = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        try:
            x = self.twice(self.twice(self.inner(x)))
        except Exception:
            return x
        return self.last(x)


@pytest.mark.parametrize("limit", [None, 0])
def test_a_network_that_catches_exceptions(limit):
    model = Catches()
    quietly(model, 0.5, [(torch.randn(64, 8), None)] * 2, memory_limit=limit).check(model)

    def fails(problem):
        raise RuntimeError("of the method")

    before = state(model)
    with pytest.raises(RuntimeError, match="of the method"):
        quietly(model, 0.6, [(torch.randn(64, 8), None)] * 2, method=fails, memory_limit=limit)
    assert close(state(model), before, atol=0)
    assert issubclass(EnoughError, BaseException)


class CatchesAll(Normed):
    """Catches that the pass is left at a norm that is called twice."""

    def forward(self, x):
        try:
            x = self.norm(self.norm(self.first(x)).relu())
        except BaseException:  # as with a bare except
            x = 0 * x
        return self.last(self.second(x).relu())


def test_a_network_that_catches_everything():
    once, each = both_ways(lambda: CatchesAll().eval(), [(torch.randn(40, 8), None)])
    assert close(state(once), state(each), atol=1e-4)


class Remembers(nn.Module):
    """Keeps something of its inputs for a later layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        self.skip = x
        x = self.b(self.a(x).relu())
        return self.c(x + self.skip)


def test_what_a_network_keeps_between_its_layers_is_that_of_the_same_data():
    once, each = both_ways(Remembers, [(torch.randn(n, 8), None) for n in (32, 20)])
    assert close(state(once), state(each))


def test_a_run_that_broke_off_goes_on_behind_its_last_layer(tmp_path):
    model, data = trained("convolutional")
    calls = 0

    def stops(problem):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return methods["magnitude"](problem)

    with pytest.raises(KeyboardInterrupt):
        quietly(model, 0.6, data, method=stops, run_dir=tmp_path)
    calls = 10
    quietly(model, 0.6, data, method=stops, run_dir=tmp_path)
    assert calls == 13  # two of five layers were there
    plain, _ = trained("convolutional")
    quietly(plain, 0.6, data, method="magnitude")
    assert close(state(model), state(plain))


# which batches are joined


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
