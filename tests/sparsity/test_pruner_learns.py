"""Criteria that learn while a Pruner's network trains."""

import copy
import re

import pytest
import torch
from pruner_toy import OPTIMIZERS, batches, network, train
from torch import nn
from torch.nn import functional as F

from featherweight.errors import ResumeError
from featherweight.sparsity import Pruner
from featherweight.sparsity.schedules import Cubic, OneShot


class Learner:
    """Scores are sums of rate x weight x gradient, and notes of what it was shown."""

    def __init__(self):
        self.sums, self.shown, self.made = {}, [], 0

    def __repr__(self):
        return "Learner()"

    def fresh(self):
        self.made += 1
        return Learner()

    def observe(self, weights, rate):
        self.shown.append((sorted(weights), rate))
        for name, weight in weights.items():
            self.sums[name] = self.sums.get(name, 0) + rate * weight.detach() * weight.grad

    def state_dict(self):
        return dict(self.sums)

    def load_state_dict(self, state):
        self.sums = dict(state)

    def __call__(self, weights, context):
        return {name: self.sums[name].clone() for name in weights}


def groups(model, rates=(0.1, 0.3), kind=torch.optim.SGD, **more):
    return kind(
        [{"params": model[n].parameters(), "lr": r} for n, r in zip((0, 3), rates, strict=True)], **more
    )


def steps(model, optimizer, data, way):
    """Train with a closure or without; return the sums of rate x weight x gradient, computed beside."""
    sums, rates = {}, {"0.weight": 0.1, "3.weight": 0.3}
    for x, y in data:
        before = {name: model.get_parameter(name).detach().clone() for name in rates}
        if way == "closure":
            train(model, optimizer, [(x, y)])
        else:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        for name, rate in rates.items():
            sums[name] = sums.get(name, 0) + rate * before[name] * model.get_parameter(name).grad
    return sums


@pytest.mark.parametrize("way", ["plain", "closure"])
def test_a_criterion_learns_of_each_step_before_it_is_taken_with_the_rate_of_its_group(way):
    model, criterion = network(), Learner()
    optimizer = groups(model)
    pruner = Pruner(model, 0.5, criterion=criterion, schedule=OneShot(begin=4))
    pruner.attach(optimizer)
    sums = steps(model, optimizer, batches(3), way)
    learner = pruner.recipe.criterion
    assert (criterion.made, criterion.shown) == (1, [])
    assert learner.shown == [(["0.weight"], 0.1), (["3.weight"], 0.3)] * 3
    for name, total in sums.items():
        torch.testing.assert_close(learner.sums[name], total)
    steps(model, optimizer, batches(2), way)
    expected = torch.cat([learner.sums[n].flatten() for n in ("0.weight", "3.weight")])
    assert pruner.masks.kept == 256
    assert int((expected[torch.cat([m.keep.flatten() for m in pruner.masks.values()])] > 0).sum()) > 128
    pruner.detach()
    steps(model, optimizer, batches(1), way)
    assert len(learner.shown) == 10


def test_two_pruners_learn_apart_and_their_fingerprints_are_those_of_the_criterion():
    criterion = Learner()
    pruners = [Pruner(network(), criterion=criterion) for _ in range(2)]
    assert pruners[0].recipe.criterion is not pruners[1].recipe.criterion
    assert pruners[0].fingerprint() == pruners[1].fingerprint()
    assert re.search(r"Learner\(\)", pruners[0].fingerprint())


def test_a_criterion_is_not_shown_the_step_that_a_fused_optimizer_skips_nor_the_scale():
    model = network()
    optimizer = groups(model, kind=torch.optim.SGD, fused=True)
    pruner = Pruner(model, 0.5, criterion=Learner(), schedule=OneShot(begin=100))
    pruner.attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1000)
    for number, (x, y) in enumerate(batches(3)):
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(x), y) * (torch.inf if number == 1 else 1)).backward()
        scaler.step(optimizer)
        scaler.update()
    assert [rate for _, rate in pruner.recipe.criterion.shown] == pytest.approx([0.025, 0.075, 0.05, 0.15])


@pytest.mark.parametrize("criterion", ["movement", Learner()], ids=["movement", "toy"])
def test_what_was_learned_goes_on_to_the_same_bits(criterion):
    schedule, data = Cubic(begin=3, end=12, every=3), list(batches(15))

    def start():
        model = network()
        optimizer = OPTIMIZERS["adamw"](model.parameters())
        pruner = Pruner(model, 0.8, criterion=criterion, schedule=schedule)
        pruner.attach(optimizer)
        return model, optimizer, pruner

    whole, optimizer, pruner = start()
    train(whole, optimizer, data, after=lambda: pruner.masks.check(whole))
    assert pruner.ready
    first, optimizer, pruner = start()
    train(first, optimizer, data[:7])
    saved = copy.deepcopy((first.state_dict(), optimizer.state_dict())), pruner.state_dict()
    train(first, optimizer, data[:2])  # what was saved does not change
    second, optimizer, pruner = start()
    second.load_state_dict(saved[0][0])
    optimizer.load_state_dict(saved[0][1])
    pruner.load_state_dict(saved[1])
    train(second, optimizer, data[7:])
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_a_state_without_what_the_criterion_learned_is_refused():
    state = Pruner(network()).state_dict()
    with pytest.raises(ResumeError, match=r"another criterion than Learner\(\)"):
        Pruner(network(), criterion=Learner()).load_state_dict(state)


def test_movement_prunes_what_moves_towards_zero_and_pruned_weights_stay_zero():
    model = nn.Linear(8, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1]]))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    pruner = Pruner(model, 0.5, criterion="movement", schedule=OneShot(begin=5))
    pruner.attach(optimizer)
    wanted = torch.tensor([[0.0, 0, 0, 0, 1, 1, 1, 1]])  # the large ones shrink, the small ones grow
    for _ in range(8):
        optimizer.zero_grad()
        (model.weight - wanted).square().sum().backward()
        optimizer.step()
        pruner.masks.check(model)
    assert pruner.masks["weight"].keep.tolist() == [[False] * 4 + [True] * 4]
