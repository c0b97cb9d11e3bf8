"""Masks hold while training goes on: any optimizer, accumulation, AMP, compile."""

import pytest
import torch
from pruner_toy import OPTIMIZERS, batches, network, train
from torch import nn
from torch.nn import functional as F

from featherweight.errors import MaskError
from featherweight.sparsity import Pruner, prune
from featherweight.sparsity.schedules import Cubic, OneShot


def zeros(model):
    return sum(int((m.weight == 0).sum()) for m in model if isinstance(m, nn.Linear))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zeros_stay_zero_after_every_step(name):
    model = network()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, batches(5))  # momentum is there before the masks are
    pruner = Pruner(model, 0.9, schedule=OneShot())
    pruner.attach(optimizer)
    train(model, optimizer, batches(10), after=lambda: pruner.masks.check(model))
    assert zeros(model) == 512 - round(0.1 * 512)


def test_sabotage_without_the_hook_zeros_do_not_stay():
    model = network()
    optimizer = OPTIMIZERS["sgd_momentum"](model.parameters())
    masks = prune(model, 0.9)
    train(model, optimizer, batches(1))
    with pytest.raises(MaskError, match="not zero"):
        masks.check(model)


def test_sabotage_pruning_is_not_undone_and_training_still_learns():
    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.5, schedule=OneShot())
    pruner.attach(optimizer)
    before = model[0].weight.detach().clone()
    train(model, optimizer, batches(20))
    kept = pruner.masks["0.weight"].keep
    assert (
        model[0].weight[kept] != before[kept]
    ).float().mean().item() > 0.5  # units that never fire have no gradient
    assert bool((model[0].weight[~kept] == 0).all())


def test_gradual_schedule_follows_its_formula_to_the_exact_count():
    model = network()
    optimizer = OPTIMIZERS["sgd_momentum"](model.parameters())
    schedule = Cubic(begin=2, end=12, every=5)
    pruner = Pruner(model, 0.9, schedule=schedule)
    pruner.attach(optimizer)
    levels = []
    train(model, optimizer, batches(15), after=lambda: levels.append(round(pruner.sparsity * 512)))
    at = {step: 512 - round((1 - schedule.sparsity_at(step, 0.9)) * 512) for step in (2, 7, 12)}
    assert levels == [0, *[at[2]] * 5, *[at[7]] * 5, *[at[12]] * 4]
    assert pruner.ready


def test_what_is_pruned_stays_pruned():
    model = network()
    optimizer = OPTIMIZERS["sgd_momentum"](model.parameters())
    pruner = Pruner(model, 0.9, criterion="random", schedule=Cubic(begin=0, end=10, every=1))
    pruner.attach(optimizer)
    before = {name: mask.keep for name, mask in pruner.masks.items()}

    def never_regrown():
        for name, mask in pruner.masks.items():
            assert not bool((mask.keep & ~before[name]).any())
            before[name] = mask.keep

    train(model, optimizer, batches(12), after=never_regrown)
    assert pruner.sparsity == pytest.approx(0.9, abs=1e-3)


def test_gradient_accumulation_counts_optimizer_steps_only():
    model = network()
    optimizer = OPTIMIZERS["sgd_momentum"](model.parameters())
    pruner = Pruner(model, 0.9, schedule=Cubic(begin=0, end=3, every=1))
    pruner.attach(optimizer)
    for number, (x, y) in enumerate(batches(8)):
        F.cross_entropy(model(x), y).backward()
        if number % 2:
            optimizer.step()
            optimizer.zero_grad()
            pruner.masks.check(model)
    assert pruner.step == 4
    assert pruner.ready


def test_autocast_and_gradient_scaler():
    model = network()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    pruner = Pruner(model, 0.9, schedule=OneShot())
    pruner.attach(optimizer)
    for number, (x, y) in enumerate(batches(6)):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x).float(), y)
        optimizer.zero_grad()
        scaler.scale(loss * (torch.inf if number == 3 else 1)).backward()
        scaler.step(optimizer)
        scaler.update()
        pruner.masks.check(model)
    assert pruner.step == 5, "the step that the scaler skipped must not count"


def test_a_step_that_a_fused_optimizer_skips_does_not_count():
    model = network()
    optimizer = OPTIMIZERS["adamw_fused"](model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    pruner = Pruner(model, 0.9, schedule=OneShot())
    pruner.attach(optimizer)
    for number, (x, y) in enumerate(batches(4)):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        scaler.scale(loss * (torch.inf if number == 2 else 1)).backward()
        scaler.step(optimizer)
        scaler.update()
        pruner.masks.check(model)
    assert pruner.step == 3


@pytest.mark.slow
def test_compiled_model():
    model = network()
    compiled = torch.compile(model)
    optimizer = OPTIMIZERS["adamw"](compiled.parameters())
    pruner = Pruner(compiled, 0.9, schedule=Cubic(begin=0, end=4, every=1))
    pruner.attach(optimizer)
    train(model, optimizer, batches(8), forward=compiled, after=lambda: pruner.masks.check(model))
    x, _ = next(batches(1))
    assert torch.allclose(compiled.eval()(x), model.eval()(x), atol=1e-5)
    assert set(pruner.masks) == {"0.weight", "3.weight"}


def test_tied_weights_stay_tied_and_zero():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4))
    model[1].weight = model[0].weight
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    pruner = Pruner(model, 0.75, schedule=OneShot())
    pruner.attach(optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 8)).square().sum().backward()
        optimizer.step()
    assert model[1].weight is model[0].weight
    assert int((model[0].weight != 0).sum()) + int((model[2].weight != 0).sum()) == 24


def test_accelerate_optimizer():
    from accelerate import Accelerator

    model = network()
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    wrapped, optimizer = accelerator.prepare(model, OPTIMIZERS["adamw"](model.parameters()))
    pruner = Pruner(wrapped, 0.9, schedule=OneShot())
    pruner.attach(optimizer)
    for x, y in batches(6):
        with accelerator.accumulate(wrapped):
            accelerator.backward(F.cross_entropy(wrapped(x), y))
            optimizer.step()
            optimizer.zero_grad()
        pruner.masks.check(model)
    assert pruner.step == 3


def test_the_model_may_change_its_type_while_the_pruner_is_attached():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    pruner = Pruner(model, 0.9, schedule=OneShot())
    pruner.attach(optimizer)
    model.double()
    train(model, optimizer, [(x.double(), y) for x, y in batches(2)])
    pruner.masks.check(model)


def test_zeros_stay_zero_under_a_second_optimizer():
    model = network()
    first, second = (torch.optim.SGD(model[n].parameters(), 0.1, momentum=0.9) for n in (0, 3))
    pruner = Pruner(model, 0.9, schedule=OneShot())
    pruner.attach(first, second)
    for x, y in batches(3):
        F.cross_entropy(model(x), y).backward()
        first.step()
        second.step()
        pruner.masks.check(model)
    assert pruner.step == 3
    pruner.detach()
    second.step()
    with pytest.raises(MaskError):
        pruner.masks.check(model)
