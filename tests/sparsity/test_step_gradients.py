"""Gradients as the backward pass left them, whatever the optimizer does to them in its step."""

import pytest
import torch
from growing_toy import SCHEDULES, batches, network, train
from torch import nn
from torch.nn import functional as F

from featherweight.sparsity import Pruner
from featherweight.sparsity.schedules import OneShot, RigL
from featherweight.sparsity.step_gradients import StepGradients, before_use


def nesterov(model):
    """The optimizer that changes gradients in place."""
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, foreach=True)


def gradients_around_steps(way):
    """Yield (the gradient of backward, what the step left in .grad, what was kept before and after)."""
    model = network()
    optimizer = nesterov(model)
    pruner = Pruner(model, 0.75, schedule=RigL(begin=0, end=9, every=3))
    pruner.attach(optimizer)
    for x, y in batches(8):
        true = []

        def closure(x=x, y=y, true=true):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            true.append(model[0].weight.grad.abs())
            return loss

        before = pruner.masks["0.weight"].keep
        if way == "closure":
            optimizer.step(closure=closure)
        else:
            closure()
            optimizer.step()
        if pruner.step in (3, 6):
            yield true[0], model[0].weight.grad.abs(), before, pruner.masks["0.weight"].keep


@pytest.mark.parametrize("way", ["plain", "closure"])
def test_weights_grow_by_the_gradient_of_backward_and_not_by_what_the_step_left(way):
    wrong = 0
    for true, left, before, after in gradients_around_steps(way):
        grown = after & ~before
        assert bool(grown.any())
        assert true[grown].min() >= true[~after].max()
        wrong += bool(left[grown].min() < left[~after].max())
    assert wrong, "the optimizer left them alone: nothing was tested"


def test_gradients_are_copied_for_a_step_that_grows_by_them_alone(monkeypatch):
    steps, held = [], []
    keep = StepGradients.keep
    monkeypatch.setattr(StepGradients, "keep", lambda self: (steps.append(pruner.step + 1), keep(self)))
    for schedule, expected in (("rigl", [2, 4, 6, 8, 10, 12]), ("set", []), ("acdc", [])):
        model = network()
        optimizer = nesterov(model)
        pruner = Pruner(model, 0.75, schedule=SCHEDULES[schedule])
        pruner.attach(optimizer)
        for batch in batches(16):
            train(model, optimizer, [batch])
            held.append(dict(pruner._gradients._kept))
        assert steps == expected
        assert held == [{}] * 16
        pruner.detach()
        train(model, optimizer, batches(4))
        assert steps == expected
        steps.clear()
        held.clear()


@pytest.mark.parametrize("way", ["plain", "closure"])
def test_a_criterion_is_shown_the_gradient_of_backward(way):
    model = network()
    optimizer = nesterov(model)
    pruner = Pruner(model, 0.5, criterion="movement", schedule=OneShot(begin=100))
    pruner.attach(optimizer)
    expected = torch.zeros_like(model[0].weight)

    def observed():
        expected.sub_(0.1 * model[0].weight.detach() * model[0].weight.grad)

    for x, y in batches(4):

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            observed()
            return loss

        if way == "closure":
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    torch.testing.assert_close(pruner.recipe.criterion.state_dict()["0.weight"], expected)


@pytest.mark.parametrize("named", [True, False])
def test_a_closure_is_called_as_before_and_acted_on_once(named):
    weight = nn.Parameter(torch.ones(3, 3))
    optimizer = torch.optim.LBFGS([weight], max_iter=3)
    calls, acted = [], []
    handle = before_use(optimizer, lambda: acted.append((len(calls), weight.grad.clone())))

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        calls.append(loss)
        return loss

    loss = optimizer.step(closure=closure) if named else optimizer.step(closure)
    assert loss is calls[0]
    assert len(calls) > 1
    assert [number for number, _ in acted] == [1]
    assert torch.equal(acted[0][1], torch.full((3, 3), 2.0))
    handle.remove()
    optimizer.step(closure)
    assert len(acted) == 1
