"""Weights that move while training: which go, which come, and that each layer keeps as many as before."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.rows import to_rows
from featherweight.errors import SettingError, TrainingError
from featherweight.sparsity import Mask, Masks, Pruner, growth
from featherweight.sparsity.schedules import ACDC, SET, Cubic, Growth, OneShot, RigL

OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=2),
}
SCHEDULES = {
    "set": SET(begin=0, end=14, every=2),
    "rigl": RigL(begin=0, end=14, every=2),
    "acdc": ACDC(begin=2, end=13, every=3),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Tanh(), nn.Conv2d(8, 8, 2), nn.Flatten(), nn.Linear(32, 8)
    )


def batches(count, seed=1):
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = torch.randn(16, 4, 5, 5, generator=rng)
        yield x, x.mean((2, 3)).argmax(1)


def train(model, optimizer, data, after=lambda: None):
    for x, y in data:

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
        after()


def started(schedule, sparsity=0.75, optimizer="momentum", **settings):
    model = network()
    optimizer = OPTIMIZERS[optimizer](model.parameters())
    pruner = Pruner(model, sparsity, schedule=schedule, **settings)
    pruner.attach(optimizer)
    return model, optimizer, pruner


def keeps(masks):
    return {name: mask.keep.clone() for name, mask in masks.items()}


# Which weights go, and which come


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


# Density and shape


def check_shape(pattern, keep, output_dim=0):
    rows = to_rows(keep, output_dim)
    if ":" in pattern:
        n, m = map(int, pattern.split(":"))
        assert int(rows.unflatten(2, (-1, m)).sum(3).max()) <= n
    elif pattern == "per_output":
        counts = rows.flatten(1).sum(1)
        assert int(counts.max() - counts.min()) <= 1
    elif "x" in pattern:
        r, c = map(int, pattern.split("x"))
        blocks = rows.unflatten(2, (-1, c)).sum(3).unflatten(0, (-1, r)).sum(1)
        assert set(blocks.unique().tolist()) <= {0, r * c}


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
    growth.forget([optimizer, torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)], weight, places)
    state = optimizer.state[weight.tensor]
    assert state["average"].tolist() == [[1, 0, 1], [1, 1, 1]]
    assert bool((state["codes"] == 1).all())
    assert bool((state["rows"] == 1).all())


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
