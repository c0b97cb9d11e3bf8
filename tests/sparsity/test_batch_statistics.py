"""Batch norm of networks that are not trained: SNIP and GraSP score as in the papers, and leave no trace."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.prunable import find_prunable
from featherweight.errors import SettingError
from featherweight.sparsity.criteria import Context, Grasp, Snip, _batch_norm

KINDS = [Snip, lambda **settings: Grasp(temperature=1.0, **settings)]
both = pytest.mark.parametrize("kind", KINDS, ids=["snip", "grasp"])


def network():
    """Its activations grow, so that running statistics of the start are far from those of a batch."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 6, 3),
        nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(54, 8), nn.BatchNorm1d(8), nn.Linear(8, 3),
    )  # fmt: skip
    with torch.no_grad():
        model[0].weight.mul_(20)
        model[4].weight.mul_(0.1)
    return model.train()


def batches():
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(n, 2, 7, 7, generator=generator) + 1, torch.randint(3, (n,), generator=generator))
        for n in (6, 4)
    ]


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def scored(criterion, model, data=None):
    weights = {w.name: w.tensor.detach() for w in find_prunable(model).weights}
    return criterion(weights, Context(model, data or batches()))


def naive(kind, model, *, training):
    """Score a copy, whose batch norm trains or not."""
    model = copy.deepcopy(model).eval()
    for norm in norms(model):
        norm.train(training)
    weights = {w.name: w.tensor for w in find_prunable(model).weights}
    loss = sum(F.cross_entropy(model(x), y) for x, y in batches()) / 2
    first = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    if kind is not Snip:
        product = sum((g * g.detach()).sum() for g in first)
        second = torch.autograd.grad(product, list(weights.values()))
        return {name: w.detach() * h for (name, w), h in zip(weights.items(), second, strict=True)}
    return {name: (w * g).detach().abs() for (name, w), g in zip(weights.items(), first, strict=True)}


def same(found, expected):
    return all(torch.allclose(found[name], expected[name], rtol=1e-3, atol=1e-7) for name in expected)


def trained():
    model = network()
    for x, _ in batches():
        model(x)
    return model


@both
def test_a_network_that_is_not_trained_is_scored_by_the_statistics_of_each_batch(kind):
    model = network()
    assert same(scored(kind(), model), naive(kind, model, training=True))
    assert not same(scored(kind(), model), naive(kind, model, training=False)), (
        "the two are no different here"
    )


@both
def test_a_trained_one_is_scored_as_it_evaluates(kind):
    model = trained()
    assert same(scored(kind(), model), naive(kind, model, training=False))
    assert not same(scored(kind(), model), naive(kind, model, training=True)), "no different here"


@both
def test_either_can_be_asked_for(kind):
    for model in (network(), trained()):
        for wanted in (True, False):
            found = scored(kind(batch_statistics=wanted), model)
            assert same(found, naive(kind, model, training=wanted))


def test_only_the_layers_that_noted_nothing_take_the_batch():
    model = trained()
    model[1].reset_running_stats()
    expected = copy.deepcopy(model).eval()
    expected[1].train()
    x, y = batches()[0]
    gradient = torch.autograd.grad(F.cross_entropy(expected(x), y), [expected[4].weight])[0]
    found = scored(Snip(), model, batches()[:1])["4.weight"]
    torch.testing.assert_close(found, (expected[4].weight * gradient).detach().abs(), rtol=1e-3, atol=1e-7)


@both
@pytest.mark.parametrize("make", [network, trained])
def test_nothing_is_left_behind(kind, make):
    model = make()
    model[5].eval()
    state, buffers = copy.deepcopy(model.state_dict()), [id(b) for b in model.buffers()]
    modes, random = [m.training for m in model.modules()], torch.get_rng_state()
    scored(kind(batch_statistics=True), model)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert [id(b) for b in model.buffers()] == buffers
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)


@both
def test_dropout_stays_off(kind):
    first, second = (scored(kind(batch_statistics=True), network()) for _ in range(2))
    assert same(first, second)
    plain = network()
    plain[3] = nn.Identity()
    assert same(first, scored(kind(batch_statistics=True), plain))


def test_a_batch_with_one_value_a_channel_is_refused_and_the_statistics_come_back():
    model, one = network(), [(x[:1], y[:1]) for x, y in batches()]
    with pytest.raises(SettingError, match="one value a channel: give batches of several"):
        scored(Snip(), model, one)
    assert all(norm.running_mean is not None and norm.running_var is not None for norm in norms(model))
    assert same(scored(Snip(), model), naive(Snip, model, training=True))
    scored(Snip(batch_statistics=False), model, one)


def test_other_errors_stay_what_they_are():
    class Failing(nn.Linear):
        def forward(self, x):
            raise ValueError("something else")

    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), Failing(3, 3))
    with pytest.raises(ValueError, match="something else"):
        scored(Snip(), model, [(torch.ones(2, 4), torch.ones(2).long())])
    assert model[1].running_mean is not None


def test_processes_do_not_synchronise_while_one_of_them_scores(monkeypatch):
    model = network()
    expected = scored(Snip(), model)
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert same(scored(Snip(batch_statistics=True), model), expected)


def test_without_the_context_the_comparison_fails(monkeypatch):
    monkeypatch.setattr(_batch_norm, "_noting", lambda model: [])
    with pytest.raises(AssertionError):
        test_a_network_that_is_not_trained_is_scored_by_the_statistics_of_each_batch(Snip)


@pytest.mark.parametrize("wrong", ["batch", 2, 0.0])
@both
def test_a_setting_that_is_none(kind, wrong):
    with pytest.raises(SettingError, match="batch_statistics is True, False or None"):
        kind(batch_statistics=wrong)
