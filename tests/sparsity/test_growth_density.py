"""Weights that move while training: each layer keeps as many as before, in the shape asked for."""

import random

import pytest
import torch
from growing_toy import OPTIMIZERS, SCHEDULES, batches, check_shape, keeps, network, started, train
from torch import nn
from torch.nn import functional as F

from featherweight.sparsity import Mask, Masks, Pruner
from featherweight.sparsity.patterns import row_pattern
from featherweight.sparsity.schedules import ACDC, SET, Growth, OneShot, RigL


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "1:4", "per_output", "1x4", "4x1", "2x2"])
@pytest.mark.parametrize("schedule", ["set", "rigl"])
def test_every_layer_keeps_as_many_after_every_step_in_the_shape_asked_for(schedule, pattern):
    model, optimizer, pruner = started(SCHEDULES[schedule], pattern=pattern)
    counts = {name: mask.kept for name, mask in pruner.masks.items()}
    assert sum(counts.values()) == round(0.25 * pruner.masks.numel)
    all_masks = [keeps(pruner.masks)]

    def check():
        pruner.masks.check(model)
        assert {name: mask.kept for name, mask in pruner.masks.items()} == counts
        for mask in pruner.masks.values():
            check_shape(pattern, mask.keep)
        assert bool(pruner.masks["5.weight"].keep.any(1).all())
        all_masks.append(keeps(pruner.masks))

    train(model, optimizer, batches(16), check)
    for name in counts:
        assert not torch.equal(all_masks[0][name], all_masks[-1][name]), "no weight moved"
        assert torch.equal(all_masks[14][name], all_masks[16][name]), "weights move after the end"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["set", "rigl"])
def test_with_any_optimizer_masks_move_and_zeros_stay(schedule, optimizer):
    model, optimizer, pruner = started(SCHEDULES[schedule], optimizer=optimizer)
    first = keeps(pruner.masks)
    train(model, optimizer, batches(16), lambda: pruner.masks.check(model))
    assert not torch.equal(first["0.weight"], pruner.masks["0.weight"].keep)


def test_blocks_cut_short_by_the_end_of_a_row_do_not_let_the_density_drift():
    model = nn.Sequential(nn.Linear(10, 30), nn.Tanh(), nn.Linear(30, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    pruner = Pruner(model, 0.5, schedule=SET(begin=0, end=99, every=1), pattern="1x4")
    pruner.attach(optimizer)
    wanted = {name: mask.kept for name, mask in pruner.masks.items()}
    for _ in range(90):
        optimizer.zero_grad()
        model(torch.randn(8, 10)).square().sum().backward()
        optimizer.step()
        assert all(abs(pruner.masks[name].kept - count) < 4 for name, count in wanted.items())


def test_sabotage_a_growth_of_nothing_moves_nothing(monkeypatch):
    monkeypatch.setattr(SET, "growth_at", lambda self, step: Growth(0.0, "random"))
    model, optimizer, pruner = started(SCHEDULES["set"])
    first = keeps(pruner.masks)
    train(model, optimizer, batches(6))
    assert all(torch.equal(first[name], mask.keep) for name, mask in pruner.masks.items())


def test_the_sparse_start_is_random_with_a_random_criterion():
    _, _, pruner = started(SCHEDULES["rigl"], criterion="random", allocation="erk")
    other = Pruner(network(), 0.75, criterion="random", allocation="erk", schedule=OneShot())
    other.attach(OPTIMIZERS["adam"](other.model.parameters()))
    assert all(torch.equal(mask.keep, other.masks[name].keep) for name, mask in pruner.masks.items())
    smallest = started(SCHEDULES["rigl"], allocation="erk")[2]
    assert not torch.equal(pruner.masks["0.weight"].keep, smallest.masks["0.weight"].keep)


# Alternating phases


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "1x4"])
def test_acdc_takes_turns_and_ends_compressed(pattern):
    schedule = SCHEDULES["acdc"]
    model, optimizer, pruner = started(schedule, pattern=pattern)
    total, levels, dense = pruner.masks.numel, [], []

    def check():
        pruner.masks.check(model)
        levels.append(pruner.masks.kept)
        assert pruner.ready == (levels[-1] < total)
        if pruner.ready:
            for mask in pruner.masks.values():
                check_shape(pattern, mask.keep)
        dense.append(int((model[0].weight == 0).sum()))

    train(model, optimizer, batches(16), check)
    sparse = round(0.25 * total)
    assert levels == [total] + [sparse] * 3 + [total] * 3 + [sparse] * 3 + [total] * 2 + [sparse] * 4
    assert dense[3] > 0
    assert dense[5] == 0, "decompressed weights train"


def test_acdc_prunes_anew_each_time_and_keeps_given_zeros():
    keep = torch.ones(8, 4, 3, 3, dtype=torch.bool)
    keep[0] = False
    given = Masks({"0.weight": Mask(keep)})
    model, optimizer, pruner = started(ACDC(begin=1, end=9, every=2), optimizer="adam", masks=given)
    optimizer.param_groups[0]["lr"] = 0.1
    phases = []

    def check():
        assert bool((model[0].weight[0] == 0).all())
        phases.append(keeps(pruner.masks)["3.weight"])

    train(model, optimizer, batches(12), check)
    assert bool(phases[3].all())
    assert not torch.equal(phases[1], phases[-1]), "the same weights are pruned again"
    assert pruner.masks.kept == round(0.25 * pruner.masks.numel)


# Every combination, at random


def random_network(rng):
    a, b, c = (rng.choice([4, 6, 7, 8, 9, 12]) for _ in range(3))
    groups = 2 if a % 2 == b % 2 == 0 and rng.random() < 0.5 else 1
    layers = [nn.Conv2d(2, a, 2), nn.Tanh(), nn.Conv2d(a, b, 2, groups=groups), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4 * b, c), nn.Tanh(), nn.Linear(c, 3))


def random_schedule(kind, rng):
    every = rng.choice([1, 2, 3])
    if kind is ACDC:
        return ACDC(begin=1, end=12, every=every)
    return kind(begin=rng.choice([0, 2]), end=13, every=every, fraction=rng.choice([0.1, 0.3, 0.7]))


def random_optimizer(model, rng):
    if rng.random() < 0.5:
        return torch.optim.Adam(model.parameters(), 0.01, fused=True)
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, foreach=True)


def accumulated_steps(model, optimizer, rng):
    """Yield how many steps were taken, of two batches each; a quarter of them is skipped by the scaler."""
    scaler, taken = torch.amp.GradScaler("cpu", init_scale=4.0), 0
    for _ in range(18):
        optimizer.zero_grad()
        overflows = rng.random() < 0.25
        for part in range(2):
            x = torch.randn(8, 2, 4, 4)
            loss = F.cross_entropy(model(x), x.mean((2, 3)).argmax(1))
            scaler.scale(loss * (torch.inf if overflows and part else 1)).backward()
        scaler.step(optimizer)
        scaler.update()
        taken += not overflows
        yield taken


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "3:7", "per_output", "1x4", "4x1", "3x3"])
@pytest.mark.parametrize("kind", [SET, RigL, ACDC])
def test_density_is_exact_after_every_step_of_runs_at_random(kind, pattern):
    """Blocks keep fewer by less than one, at all times; all others to the weight."""
    slack = row_pattern(pattern).granularity - 1
    for seed in (3, 6, 8):
        rng = random.Random(seed)
        torch.manual_seed(seed)
        model, schedule = random_network(rng), random_schedule(kind, rng)
        sparsity, optimizer = rng.choice([0.55, 0.6, 0.7, 0.8]), random_optimizer(model, rng)
        allocation, criterion = rng.choice(["global", "erk", "lamp"]), rng.choice(["magnitude", "random"])
        pruner = Pruner(
            model, sparsity, schedule=schedule, pattern=pattern, allocation=allocation, criterion=criterion
        )
        pruner.attach(optimizer)
        first = None
        for taken in accumulated_steps(model, optimizer, rng):
            assert pruner.step == taken
            pruner.masks.check(model)
            wanted = round((1 - schedule.sparsity_at(taken, sparsity)) * pruner.masks.numel)
            assert wanted - slack <= pruner.masks.kept <= wanted, (seed, taken)
            counts = {name: mask.kept for name, mask in pruner.masks.items()}
            if kind is not ACDC and taken >= schedule.begin:
                first = first or counts
                assert all(abs(counts[name] - first[name]) <= 2 * slack for name in counts), (seed, taken)


def test_few_weights_that_must_stay_are_not_asked_to_go():
    """20 weights of 4 layers, of which the last one's three outputs need a block each: no error."""
    torch.manual_seed(6)
    model = random_network(random.Random(6))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    sparsity = 1 - 24 / sum(layer.weight.numel() for layer in model if hasattr(layer, "weight"))
    pruner = Pruner(model, sparsity, schedule=SET(begin=0, end=9, every=1, fraction=0.9), pattern="1x4")
    pruner.attach(optimizer)
    for _ in range(10):
        optimizer.zero_grad()
        model(torch.randn(8, 2, 4, 4)).square().sum().backward()
        optimizer.step()
        assert 21 <= pruner.masks.kept <= 24
