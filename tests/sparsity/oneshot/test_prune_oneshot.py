"""fw.prune_oneshot on networks: exact counts, better than magnitude, of any data."""

import math

import pytest
import torch
from oneshot_toy import NETWORKS, data_of, loss_of, quietly, same, state, trained
from torch.nn import functional as F

import featherweight as fw
from featherweight.core.prunable import find_prunable
from featherweight.core.rows import from_rows, to_rows
from featherweight.errors import SettingError
from featherweight.sparsity import prune
from featherweight.sparsity.oneshot import methods, prune_oneshot


@pytest.mark.parametrize("network", NETWORKS)
def test_the_loss_is_lower_than_with_magnitude(network):
    losses = {}
    for method in ("magnitude", "sparsegpt", "obs", "alps"):
        model, data = trained(network)
        quietly(model, 0.6, data, method=method, correct_bias=False, batch_norm="keep")
        losses[method] = loss_of(model, data)
    dense = loss_of(*trained(network))
    magnitude = losses.pop("magnitude") - dense
    assert max(losses.values()) - dense < 0.8 * magnitude
    assert min(losses.values()) - dense < 0.7 * magnitude


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", list(methods))
def test_counts_are_those_of_prune_and_masks_hold(method, network):
    model, data = trained(network, 0)
    masks = quietly(model, 0.6, data, method=method)
    masks.check(model)
    expected = prune(trained(network, 0)[0], 0.6, allocation="uniform")
    assert {name: mask.kept for name, mask in masks.items()} == {n: m.kept for n, m in expected.items()}
    assert masks.kept == round(0.4 * masks.numel)
    assert [layer.kept for layer in masks.layers] == [masks[layer.name].kept for layer in masks.layers]
    assert all(0 <= layer.error < 1 and layer.seconds > 0 and layer.samples > 0 for layer in masks.layers)


@pytest.mark.parametrize("pattern", ["2:4", "1x4", "4x1", "per_output"])
def test_patterns_and_allocations(pattern):
    model, data = trained("convolutional", 0)
    masks = quietly(model, 0.7, data, pattern=pattern, allocation="erk")
    expected = prune(trained("convolutional", 0)[0], 0.7, pattern=pattern, allocation="erk")
    assert masks.kept == expected.kept
    for weight in find_prunable(model).weights:
        rows = to_rows(masks[weight.name].keep, weight.output_dim, weight.groups)
        from featherweight.sparsity.patterns import row_pattern

        again = row_pattern(pattern).mask(rows.double(), masks[weight.name].kept).keep
        assert torch.equal(again, rows)


def test_magnitude_is_prune():
    model, data = trained("convolutional", 5)
    other = trained("convolutional", 5)[0]
    quietly(model, 0.8, data, method="magnitude", correct_bias=False, batch_norm="keep")
    prune(other, 0.8, allocation="uniform")
    assert same(state(model), state(other))


def test_every_output_of_the_network_keeps_a_weight():
    model, data = trained("linear", 0)
    with torch.no_grad():
        model[4].weight[1] *= 1e-6
    for method in methods:
        pruned, _ = trained("linear", 0)
        pruned.load_state_dict(model.state_dict())
        masks = quietly(pruned, 0.9, data, method=method)
        assert bool(masks["4.weight"].keep.any(1).all()), method


def test_modes_gradients_hooks_and_random_numbers_are_left_alone():
    model, data = trained("attention", 1)
    model.train()
    model.head.eval()
    gradients = [torch.randn_like(p) for p in model.parameters()]
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    modes = {name: module.training for name, module in model.named_modules()}
    generator = torch.get_rng_state()
    quietly(model, 0.5, data)
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_same_twice_is_the_same():
    results = []
    for _ in range(2):
        model, data = trained("attention", 3)
        quietly(model, 0.5, data, criterion="random", allocation="global", seed=3)
        results.append(state(model))
    assert same(*results)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision(kind):
    model, data = trained("linear")
    model = model.to(kind)
    data = [(x.to(kind), y) for x, y in data]
    masks = quietly(model, 0.5, data)
    masks.check(model)
    assert masks.kept == round(0.5 * masks.numel)
    assert all(p.dtype == kind for p in model.parameters())
    assert math.isfinite(loss_of(model, data))


def test_what_was_zero_stays_zero():
    model, data = trained("linear")
    first = prune(model, 0.4)
    masks = quietly(model, 0.7, data)
    for name, mask in masks.items():
        assert not bool((mask.keep & ~first[name].keep).any())
    assert masks.kept == round(0.3 * masks.numel)
    with pytest.raises(SettingError, match="sparse already"):
        quietly(model, 0.5, data)


def test_data_may_be_a_function():
    model, data = trained("linear")
    other, _ = trained("linear")
    quietly(model, 0.6, lambda m: (F.cross_entropy(m(x), y) for x, y in data))
    quietly(other, 0.6, data, memory_limit=0)
    assert same(state(model), state(other))


def test_a_loader_may_shuffle_and_only_so_many_batches_are_read():
    read = []

    class Loader:
        def __iter__(self):
            for number, batch in enumerate(data_of((12,), 8)):
                read.append(number)
                yield batch

    model, _ = trained("linear", 0)
    masks = quietly(model, 0.5, Loader(), batches=3)
    assert read == [0, 1, 2]
    assert {layer.samples for layer in masks.layers} == {3 * 64}


def test_progress_is_a_line_a_layer_on_stderr(capsys):
    model, data = trained("linear", 0)
    prune_oneshot(model, 0.5, data)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("1/3  0.weight  50.00% zero  error ")
    quietly(trained("linear", 0)[0], 0.5, data)
    assert capsys.readouterr().err == ""


def test_it_is_exported():
    assert fw.prune_oneshot is prune_oneshot


def test_rows_and_back_are_what_layers_are_written_by():
    weight = torch.randn(6, 4, 3, 3)
    assert torch.equal(from_rows(to_rows(weight, 0), weight.shape, 0), weight)
