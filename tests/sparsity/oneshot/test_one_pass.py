"""Batches that go through the network once, and wait before each layer until it is pruned."""

import threading

import pytest
import torch
from oneshot_toy import NETWORKS, quietly, state, trained
from torch import nn

from featherweight.errors import SettingError
from featherweight.sparsity.oneshot import Solution, methods
from featherweight.sparsity.oneshot import _one_pass as one_pass
from featherweight.sparsity.oneshot._passes import Passes
from featherweight.sparsity.oneshot._walk import Walk


def close(a, b, atol=1e-5):
    return all(torch.allclose(a[name], b[name], atol=atol, rtol=1e-4) for name in b)


def both_ways(make, data, **settings):
    """Return the networks pruned with a pass, and with a pass a layer."""
    found = []
    for low_memory in (False, True):
        model = make()
        quietly(model, 0.5, data, low_memory=low_memory, **settings)
        found.append(model)
    return found


@pytest.fixture
def own_passes(monkeypatch):
    """Names of the weights that have a pass of their own."""
    names, moments = [], Passes.moments

    def noted(self, weight, *args):
        names.append(weight.name)
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


def test_each_batch_goes_through_the_network_once(own_passes):
    model, data = trained("convolutional")
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(threading.current_thread().name))
    quietly(model, 0.5, data)
    assert not own_passes
    assert len(calls) == 2 * len(data)  # one pass finds the layers, and what reaches norms
    assert calls.count("featherweight walk") == len(data)
    calls.clear()
    quietly(model, 0.6, data, batch_norm="keep", low_memory=True)
    assert len(calls) > 4 * len(data)
    assert "featherweight walk" not in calls


def test_with_several_batches_layers_see_norms_as_they_are_at_last():
    """Not the first batch one that only it asked for, as while a pass runs."""
    seen, (model, data) = {}, trained("convolutional")

    def method(problem):
        seen.setdefault(problem.weights.shape, problem.hessian.clone())
        return methods["magnitude"](problem)

    quietly(model, 0.8, data, method=method)
    x = torch.cat([x for x, _ in data])
    inputs = []
    model[3].register_forward_pre_hook(lambda m, a: inputs.append(a[0]))
    with torch.no_grad():
        model(x)
    squares = nn.functional.unfold(inputs[0][:, :4], 3, stride=2).square().mean((0, 2))
    hessian = seen[(16, 9, 4)][0].diagonal().float().view(9, 4).T.flatten()  # inputs change fastest
    assert torch.allclose(hessian, squares, rtol=1e-3)


class Uneven(nn.Module):
    """A layer used twice, one of long batches only, two in an order that depends on the batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.twice, self.long, self.a, self.b, self.last = (
            nn.Linear(8, 8, bias=name != "first") for name in ("first", "twice", "long", "a", "b", "last")
        )

    def forward(self, x):
        x = self.twice(self.twice(self.first(x)).relu()).relu()
        if len(x) > 20:
            x = x + self.long(x).relu()
        x = self.a(self.b(x).relu()) if len(x) % 2 else self.b(self.a(x).relu())
        return self.last(x.relu())


@pytest.mark.parametrize(
    ("sizes", "own"),
    [
        ((31, 11), {"twice"}),
        ((30, 10), {"twice"}),
        ((30, 11), {"twice", "a"}),  # of which the second batch has yet to come out of "b"
        ((11, 31), {"twice", "b", "a", "last"}),  # "long" is found last, and pruned last
    ],
)
def test_layers_that_batches_use_unevenly(sizes, own, own_passes):
    data = [(torch.randn(n, 8), torch.zeros(n).long()) for n in sizes]
    quietly(Uneven(), 0.5, data)
    assert {name.removesuffix(".weight") for name in own_passes} == own
    once, each = both_ways(Uneven, data)
    assert close(state(once), state(each))


class Normed(nn.Module):
    """A norm called twice, with a layer behind it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm, self.once = nn.BatchNorm1d(8), nn.BatchNorm1d(8)

    def forward(self, x):
        x = self.first(x)
        x = self.norm(self.norm(x).relu())
        return self.last(self.once(self.second(x)).relu())


def test_a_layer_behind_a_norm_that_is_called_twice_has_a_pass(own_passes):
    data = [(torch.randn(40, 8), torch.zeros(40).long())]
    once, each = both_ways(lambda: Normed().eval(), data)
    assert own_passes.count("second.weight") == 2
    assert own_passes.count("last.weight") == 1  # of the second call: by then the norm is settled
    assert close(state(once), state(each), atol=1e-4)


def test_a_norm_right_behind_one_that_is_called_twice_is_matched_after_it():
    class Behind(Normed):
        def forward(self, x):
            x = self.once(self.norm(self.norm(self.first(x)).relu()).relu())
            return self.last(self.second(x).relu())

    data = [(torch.randn(40, 8), None)] * 3
    once, each = both_ways(lambda: Behind().eval(), data)
    assert close(state(once), state(each), atol=1e-4)


@pytest.mark.parametrize("low_memory", [False, True])
def test_within_autocast_layers_see_the_pruned_layers_before_them(low_memory):
    """Autocast keeps the weights that it rounded, also when they change."""
    seen = []

    def spy(problem):
        seen.append(float(problem.hessian.diagonal(dim1=-2, dim2=-1).sum()))
        return Solution(torch.zeros_like(problem.weights), torch.zeros_like(problem.weights).bool())

    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
    x = torch.randn(64, 8)
    with torch.autocast("cpu"):
        model(x)
        quietly(model, 0.5, [(x, None)], method=spy, low_memory=low_memory)
        assert not bool(model(x).any())
    assert seen[0] > 0 == seen[1]


def test_the_callers_autocast_and_device_hold():
    seen = []

    class Looks(nn.Linear):
        def forward(self, x):
            seen.append(
                (torch.is_autocast_enabled("cpu"), torch.is_grad_enabled(), torch.empty(0).device.type)
            )
            return super().forward(x)

    model = nn.Sequential(Looks(8, 8), Looks(8, 8))
    data = [(torch.randn(16, 8), None)]
    quietly(model, 0.5, data)
    with torch.autocast("cpu"), torch.device("meta"):
        torch.set_grad_enabled(True)
        states = []
        walk = Walk(lambda: states.append((torch.is_autocast_enabled("cpu"), torch.empty(0).device.type)))
        walk.go()
    assert states == [(True, "meta")]
    assert set(seen) == {(False, False, "cpu")}


def walks():
    return [thread for thread in threading.enumerate() if thread.name == "featherweight walk"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_no_thread_is_left_after_an_error(error):
    model, data = trained("linear")

    def fails(problem):
        if problem.weights.shape[0] == 4:
            assert len(walks()) == len(data)
            raise error("here")
        return methods["magnitude"](problem)

    with pytest.raises(error, match="here"):
        quietly(model, 0.5, data, method=fails)
    assert not walks()


def test_an_error_of_the_network_is_raised_as_it_is():
    class Fails(nn.Module):
        def forward(self, x):
            if threading.current_thread().name == "featherweight walk":
                raise ValueError("of the network")
            return x

    model = nn.Sequential(nn.Linear(8, 8), Fails(), nn.Linear(8, 8))
    before = state(model)
    with pytest.raises(ValueError, match="of the network"):
        quietly(model, 0.5, [(torch.randn(4, 8), None)] * 3)
    assert close(state(model), before, atol=0)
    assert not walks()


def test_blocks_that_a_forward_pass_waits_in_are_left():
    left = []

    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, x):
            try:
                return self.inner(x)
            except Exception:  # what it must not catch is no Exception
                return x
            finally:
                left.append(threading.current_thread().name)

    model = nn.Sequential(nn.Linear(8, 8), Careful(), nn.Linear(8, 8))
    quietly(model, 0.5, [(torch.randn(4, 8), None)] * 3)
    assert left.count("featherweight walk") == 3


def test_so_many_batches_that_threads_would_be_too_many_have_a_pass_a_layer(monkeypatch, own_passes):
    model, data = trained("linear")
    monkeypatch.setattr(one_pass, "_THREADS", len(data) - 1)
    quietly(model, 0.5, data)
    assert len(own_passes) == 3


@pytest.mark.parametrize("low_memory", [1, None, "yes"])
def test_low_memory_is_a_bool(low_memory):
    model, data = trained("linear", 0)
    with pytest.raises(SettingError, match="low_memory is True or False"):
        quietly(model, 0.5, data, low_memory=low_memory)


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
