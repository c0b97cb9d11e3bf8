"""Weights that move while training: what the optimizer knows of them, their gradients, errors, going on."""

import copy
import math

import pytest
import torch
from growing_toy import OPTIMIZERS, SCHEDULES, batches, keeps, network, started, train
from torch import nn
from torch.nn import functional as F

from featherweight.errors import SettingError, TrainingError
from featherweight.sparsity import Masks, Pruner, growth
from featherweight.sparsity.schedules import ACDC, SET, Cubic, OneShot, RigL

# What the optimizer knows of weights that come back


@pytest.mark.parametrize(("optimizer", "entries"), [("momentum", 1), ("adam", 2)])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_optimizer_forgets_weights_that_come_back_and_no_others(schedule, optimizer, entries):
    model, optimizer, pruner = started(SCHEDULES[schedule], optimizer=optimizer)
    before, came = keeps(pruner.masks), 0

    def check():
        nonlocal before, came
        for weight in pruner.prunable.weights:
            grown = pruner.masks[weight.name].keep & ~before[weight.name]
            states = [s for s in optimizer.state[weight.tensor].values() if s.shape == weight.tensor.shape]
            assert len(states) == entries
            for state in states:
                assert bool((state[grown] == 0).all())
                assert bool((state[~grown] != 0).all()), "dense gradients leave no state at zero"
            assert bool((weight.tensor[grown] == 0).all())
            came += int(grown.sum())
        before = keeps(pruner.masks)

    train(model, optimizer, batches(16), check)
    assert came > 0


def test_sabotage_an_optimizer_that_does_not_forget_is_noticed(monkeypatch):
    def weights():
        model, optimizer, _ = started(SCHEDULES["rigl"])
        train(model, optimizer, batches(4))
        return model[0].weight.detach().clone()

    forgotten = weights()
    monkeypatch.setattr("featherweight.sparsity.pruner.forget", lambda *_: None)
    assert not torch.equal(forgotten, weights())


def test_forgetting_spares_tensors_that_are_not_of_the_weight():
    weight = Pruner(nn.Linear(3, 2)).prunable.weights[0]
    optimizer = torch.optim.SGD([weight.tensor], 0.1)
    kept = {"codes": torch.ones(2, 3, dtype=torch.uint8), "rows": torch.ones(2), "step": 3}
    optimizer.state[weight.tensor] = {**kept, "average": torch.ones(2, 3)}
    places = torch.zeros(2, 3, dtype=torch.bool)
    places[0, 1] = True
    others = torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)
    growth.forget([optimizer, others], (weight.tensor,), places)
    state = optimizer.state[weight.tensor]
    assert state["average"].tolist() == [[1, 0, 1], [1, 1, 1]]
    assert bool((state["codes"] == 1).all())
    assert bool((state["rows"] == 1).all())


# Gradients under accumulation and scaling


def masks_after(scale=1.0, parts=1, kind="plain"):
    model = network().eval()  # batch norm is that of each part, otherwise
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    pruner = Pruner(model, 0.75, schedule=RigL(begin=0, end=9, every=1))
    pruner.attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=kind == "scaler")
    for x, y in batches(6):
        optimizer.zero_grad()
        for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
            scaler.scale(scale * F.cross_entropy(model(a).double(), b) / parts).backward()
        if scale != 1:
            for parameter in model.parameters():
                parameter.grad /= scale
        scaler.step(optimizer)
        scaler.update()
    return keeps(pruner.masks)


@pytest.mark.parametrize("how", [{"parts": 4}, {"kind": "scaler"}, {"scale": 2.0**-20}])
def test_accumulated_and_scaled_gradients_have_the_same_order(how):
    plain, other = masks_after(), masks_after(**how)
    same = sum(int((plain[name] == other[name]).sum()) for name in plain)
    assert same >= 0.99 * sum(keep.numel() for keep in plain.values())


# Errors


def test_without_gradients_there_is_an_error_and_nothing_changes():
    model, optimizer, pruner = started(RigL(begin=0, end=9, every=3))
    train(model, optimizer, batches(2))
    before = keeps(pruner.masks)
    optimizer.zero_grad(set_to_none=True)
    with pytest.raises(TrainingError, match=r"0\.weight has no gradient after optimizer step 3.*skip="):
        optimizer.step()
    assert all(torch.equal(before[name], mask.keep) for name, mask in pruner.masks.items())


def test_gradients_that_are_not_finite_are_refused():
    model, optimizer, _ = started(RigL(begin=0, end=9, every=1))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model[3].weight.grad[0, 0] = math.nan
    optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(TrainingError, match=r"3\.weight: the gradient of optimizer step 1 is not finite"):
        optimizer.step()


@pytest.mark.parametrize("schedule", SCHEDULES.values())
def test_masks_that_leave_nothing_to_grow_are_refused(schedule):
    model = network()
    sparse = Pruner(model, 0.75, schedule=OneShot())
    sparse.attach(OPTIMIZERS["adam"](model.parameters()))
    sparse.detach()
    with pytest.raises(SettingError, match=r"Nothing could grow: masks= prunes 75\.00%"):
        Pruner(model, 0.75, schedule=schedule, masks=sparse.masks)
    again = Pruner(model, 0.75, schedule=schedule)
    assert again.masks.sparsity == 0
    Pruner(model, 0.75, schedule=Cubic(), masks=sparse.masks)


# Going on


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_save_and_resume_equals_one_run(schedule, optimizer, tmp_path):
    data = list(batches(16))
    given = {"criterion": "random", "allocation": "uniform", "seed": 4}
    whole, steps, _ = started(SCHEDULES[schedule], optimizer=optimizer, **given)
    train(whole, steps, data)
    for cut, attached_first in ((4, True), (5, False), (7, False)):
        first, steps, pruner = started(SCHEDULES[schedule], optimizer=optimizer, **given)
        train(first, steps, data[:cut])
        torch.save([first.state_dict(), steps.state_dict(), pruner.state_dict()], tmp_path / "state.pt")
        saved = torch.load(tmp_path / "state.pt", weights_only=True)
        second, steps, pruner = started(SCHEDULES[schedule], optimizer=optimizer, **given)
        if not attached_first:
            pruner.detach()
        second.load_state_dict(saved[0])
        steps.load_state_dict(saved[1])
        pruner.load_state_dict(saved[2])
        if not attached_first:
            pruner.attach(steps)
        train(second, steps, data[cut:])
        for name, value in whole.state_dict().items():
            assert torch.equal(value, second.state_dict()[name]), (cut, name)


def test_given_zeros_do_not_grow_after_going_on_without_them():
    model = network()
    with torch.no_grad():
        model[0].weight[0] = 0
    state = Pruner(model, 0.75, schedule=SCHEDULES["rigl"], masks=Masks.from_zeros(model)).state_dict()
    again = Pruner(model, 0.75, schedule=SCHEDULES["set"])
    again.load_state_dict(copy.deepcopy(state))
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    again.attach(optimizer)
    train(model, optimizer, batches(12), lambda: again.masks.check(model))
    assert not bool(again.masks["0.weight"].keep[0].any())


def test_detached_nothing_moves_and_fingerprints_tell_schedules_apart():
    model, optimizer, pruner = started(SCHEDULES["set"])
    train(model, optimizer, batches(2))
    pruner.detach()
    before = keeps(pruner.masks)
    train(model, optimizer, batches(4))
    assert all(torch.equal(before[name], mask.keep) for name, mask in pruner.masks.items())
    others = [Pruner(network(), schedule=s).fingerprint() for s in (SET(), SET(fraction=0.2), RigL(), ACDC())]
    assert len(set(others)) == 4
