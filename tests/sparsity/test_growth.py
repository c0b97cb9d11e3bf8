"""Weights that move while training: which go, and which come."""

import torch
from growing_toy import OPTIMIZERS, SCHEDULES, batches, keeps, network, started, train
from torch import nn
from torch.nn import functional as F

from featherweight.sparsity import Mask, Masks, Pruner
from featherweight.sparsity.schedules import SET, OneShot, RigL


def one_layer(by, weight, gradient, **settings):
    """A layer at half its weights, after one step of rate 0 with a third of them to move."""
    model = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        model.weight.copy_(weight)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    pruner = Pruner(model, 0.5, schedule=by(begin=0, end=9, every=1, fraction=1 / 3), **settings)
    pruner.attach(optimizer)
    model.weight.grad = gradient
    optimizer.step()
    return model.weight.detach(), pruner.masks["weight"].keep


def test_the_smallest_goes_and_that_of_the_largest_gradient_comes_from_zero():
    weight, keep = one_layer(
        RigL, torch.tensor([[6.0, -5.0, 4.0, 3.0, 2.0, 1.0]]), torch.tensor([[9.0, 0.0, 0.5, 1.0, -3.0, 2.0]])
    )
    assert keep.tolist() == [[True, True, False, False, True, False]]
    assert weight.tolist() == [[6.0, -5.0, 0.0, 0.0, 0.0, 0.0]]


def test_one_that_was_dropped_and_has_the_largest_gradient_stays_what_it_was():
    weight, keep = one_layer(
        RigL, torch.tensor([[6.0, 5.0, -4.0, 3.0, 2.0, 1.0]]), torch.tensor([[9.0, 0.0, 8.0, 1.0, -3.0, 2.0]])
    )
    assert keep.tolist() == [[True, True, True, False, False, False]]
    assert weight.tolist() == [[6.0, 5.0, -4.0, 0.0, 0.0, 0.0]]


def test_no_output_of_the_last_layer_vanishes_and_what_was_given_as_pruned_does_not_grow():
    weight = torch.tensor([[9.0, 8.0, 7.0, 6.0], [0.1, 0.01, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0]])
    given, gradient = torch.ones(3, 4, dtype=torch.bool), torch.zeros(3, 4)
    given[2, 3] = False
    gradient[2, 3], gradient[1, 3] = 100.0, 1.0
    new, keep = one_layer(RigL, weight, gradient, masks=Masks({"weight": Mask(given)}))
    assert keep.tolist() == [
        [True, True, True, False],
        [True, False, False, True],
        [True, False, False, False],
    ]
    assert new[1, 3] == 0


def reference(weight, gradient, keep, fraction):
    """One layer by sorting: the flat indices that are kept afterwards."""
    w, g = weight.flatten().tolist(), gradient.flatten().tolist()
    kept = keep.flatten().nonzero().flatten().tolist()
    count = round(fraction * len(kept))
    stay = sorted(kept, key=lambda i: -abs(w[i]))[: len(kept) - count]
    others = sorted(set(range(len(w))) - set(stay), key=lambda i: -abs(g[i]))
    return sorted(stay + others[:count])


def agreement_with_the_reference(schedule):
    """How many of all masks of hidden layers are those of the reference, over a run."""
    model = network()
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    seen = {}

    def note(*_):
        for name in ("0.weight", "3.weight"):
            weight = model.get_parameter(name)
            seen[name] = (weight.detach().clone(), weight.grad.clone())

    optimizer.register_step_post_hook(note)
    pruner = Pruner(model, 0.75, schedule=schedule)
    pruner.attach(optimizer)
    before, same = keeps(pruner.masks), []

    def compare():
        if (move := schedule.growth_at(pruner.step)) is not None:
            for name, (weight, gradient) in seen.items():
                expected = reference(weight, gradient, before[name], move.fraction)
                same.append(pruner.masks[name].keep.flatten().nonzero().flatten().tolist() == expected)
        before.update(keeps(pruner.masks))

    train(model, optimizer, batches(16), compare)
    assert len(same) == 2 * len([s for s in range(17) if schedule.growth_at(s)])
    return sum(same) / len(same)


def test_rigl_is_the_reference_written_out_at_every_update():
    assert agreement_with_the_reference(SCHEDULES["rigl"]) == 1


def test_sabotage_growing_at_random_is_not_the_reference():
    assert agreement_with_the_reference(SCHEDULES["set"]) == 0


def loss_after(schedule):
    """A regression on one input of 64, whose weight is zero at first and so pruned."""
    torch.manual_seed(0)
    model = nn.Linear(64, 1, bias=False)
    with torch.no_grad():
        model.weight[0, 40] = 0
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    pruner = Pruner(model, 0.9, schedule=schedule)
    pruner.attach(optimizer)
    rng = torch.Generator().manual_seed(3)
    for _ in range(60):
        x = torch.randn(64, 64, generator=rng)
        loss = F.mse_loss(model(x), x[:, 40:41])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def test_the_gradient_finds_the_input_that_matters_and_chance_does_not():
    times = {"begin": 0, "end": 12, "every": 5}
    assert loss_after(RigL(**times)) < 1e-3
    assert loss_after(SET(**times)) > 0.5
    assert loss_after(OneShot()) > 0.5


def test_random_growth_is_of_seed_and_step_alone():
    def grown(seed, steps=4):
        _, optimizer, pruner = started(SET(begin=0, end=9, every=2, fraction=0.5), seed=seed)
        train(pruner.model, optimizer, batches(steps))
        return keeps(pruner.masks)["0.weight"]

    assert torch.equal(grown(0), grown(0))
    assert not torch.equal(grown(0), grown(1))


def test_random_growth_draws_anew_at_each_step():
    model = nn.Linear(100, 10, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    pruner = Pruner(model, 0.5, schedule=SET(begin=0, end=9, every=1, fraction=0.5))
    pruner.attach(optimizer)
    model.weight.grad = torch.zeros_like(model.weight)
    came = []
    for _ in range(2):
        before = pruner.masks["weight"].keep
        optimizer.step()
        came.append((pruner.masks["weight"].keep & ~before).flatten())
    both, fraction = int((came[0] & came[1]).sum()), int(came[0].sum()) / 1000
    assert both < 1000 * fraction**2 * 3
