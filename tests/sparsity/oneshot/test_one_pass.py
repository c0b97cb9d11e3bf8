"""Layers that are pruned as a forward pass comes to them."""

import warnings

import pytest
import torch
from oneshot_toy import NETWORKS, quietly, state, trained
from torch import nn

from featherweight.sparsity.layer_inputs import EnoughError
from featherweight.sparsity.oneshot import Solution, methods


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


@pytest.mark.parametrize("limit", [None, 0])
def test_a_part_of_torchscript_is_as_it_was_after_a_failure(limit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU()))
    model = nn.Sequential(nn.Linear(8, 8), scripted, nn.Linear(8, 8)).eval()
    data, before = [(torch.randn(16, 8), None)] * 3, state(model)

    def fails(problem):
        raise RuntimeError("of the method")

    with pytest.raises(RuntimeError, match="of the method"):
        quietly(model, 0.5, data, method=fails, memory_limit=limit, skip=["1"])
    assert close(state(model), before, atol=0)
    quietly(model, 0.5, data, memory_limit=limit, skip=["1"]).check(model)
