"""Masks hold while training goes on: any optimizer, accumulation, AMP, compile, save and resume."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.errors import MaskError, ModelError, ResumeError, SettingError
from featherweight.sparsity import Masks, Pruner, prune
from featherweight.sparsity.schedules import Cubic, OneShot

OPTIMIZERS = {
    "sgd_momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "adamw_foreach": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, foreach=True),
    "adamw_fused": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
    "lbfgs": lambda p: torch.optim.LBFGS(p, max_iter=2),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))


def batches(count, seed=1):
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = torch.randn(16, 12, generator=rng)
        yield x, (x[:, :4].argmax(1))


def train(model, optimizer, data, forward=None, after=lambda: None):
    for x, y in data:

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = F.cross_entropy((forward or model)(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
        after()


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


def test_save_and_resume_equals_one_run():
    def start(model):
        optimizer = OPTIMIZERS["adamw"](model.parameters())
        return optimizer, Pruner(model, 0.9, schedule=Cubic(begin=0, end=12, every=3))

    data = list(batches(20))
    whole = network()
    optimizer, pruner = start(whole)
    pruner.attach(optimizer)
    train(whole, optimizer, data)

    first = network()
    optimizer, pruner = start(first)
    pruner.attach(optimizer)
    train(first, optimizer, data[:7])
    saved = copy.deepcopy((first.state_dict(), optimizer.state_dict(), pruner.state_dict()))

    second = network()
    optimizer, pruner = start(second)
    second.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    pruner.load_state_dict(saved[2])
    pruner.attach(optimizer)
    train(second, optimizer, data[7:])
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_resuming_applies_the_masks_to_a_dense_model_at_once():
    source = network()
    optimizer = OPTIMIZERS["adam"](source.parameters())
    pruner = Pruner(source, 0.9, schedule=OneShot())
    pruner.attach(optimizer)
    model = network()
    other = Pruner(model, 0.9, schedule=OneShot())
    other.load_state_dict(pruner.state_dict())
    pruner.masks.check(model)


def test_a_state_of_another_network_is_refused():
    state = Pruner(nn.Sequential(nn.Linear(3, 3))).state_dict()
    with pytest.raises(MaskError, match=r"other weights.*3\.weight"):
        Pruner(network()).load_state_dict(state)


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


def test_continues_from_given_masks():
    model = network()
    masks = prune(model, 0.5)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.9, schedule=Cubic(begin=5, end=10, every=1), masks=Masks.from_zeros(model))
    pruner.attach(optimizer)
    assert pruner.sparsity == pytest.approx(0.5, abs=1e-3)
    train(model, optimizer, batches(12), after=lambda: masks.check(model))
    assert pruner.sparsity == pytest.approx(0.9, abs=1e-3)


def test_a_pruned_model_can_be_fine_tuned_at_its_own_sparsity():
    model = network()
    masks = prune(model, 0.9)  # keeps 51 of 512, a little less than a tenth
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.9, schedule=Cubic(begin=0, end=3, every=1), masks=masks)
    pruner.attach(optimizer)
    train(model, optimizer, batches(5), after=lambda: masks.check(model))
    assert pruner.masks.kept == masks.kept


def test_zero_initialised_weights_may_train():
    model = network()
    nn.init.zeros_(model[3].weight)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.5, schedule=Cubic(begin=5, end=10, every=1))
    pruner.attach(optimizer)
    train(model, optimizer, batches(4))
    assert bool((model[3].weight != 0).all())


def test_attach_errors():
    model = network()
    pruner = Pruner(model)
    with pytest.raises(SettingError, match="plan"):
        pruner.attach(OPTIMIZERS["adam"](model.parameters()))
    pruner.plan(100)
    with pytest.raises(ModelError, match="holds none"):
        pruner.attach(OPTIMIZERS["adam"](network().parameters()))
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner.attach(optimizer)
    with pytest.raises(SettingError, match="attached already"):
        pruner.attach(optimizer)
    pruner.detach()
    train(model, optimizer, batches(1))
    assert pruner.step == 0


def test_attaching_zeroes_what_is_pruned_already():
    masks, model = prune(network(), 0.5), network()
    pruner = Pruner(model, 0.9, schedule=Cubic(begin=5, end=10, every=1), masks=masks)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner.attach(optimizer)
    masks.check(model)
    pruner.detach()
    train(model, optimizer, batches(1))
    pruner.attach(optimizer)
    masks.check(model)


def test_attaching_again_does_not_score_again():
    scored = []

    def criterion(weights, context):
        scored.append(len(scored))
        return {name: weight.abs() for name, weight in weights.items()}

    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.9, criterion=criterion, schedule=OneShot(begin=2))
    pruner.attach(optimizer)
    train(model, optimizer, batches(2))
    assert scored == [0]
    pruner.detach()
    again = Pruner(model, 0.9, criterion=criterion, schedule=OneShot(begin=2))
    again.load_state_dict(pruner.state_dict())
    for each in (pruner, again):
        each.attach(optimizer)
    assert scored == [0]


def test_the_fingerprint_of_a_callable_does_not_depend_on_where_it_lies_in_memory():
    def fingerprint():
        return Pruner(network(), criterion=lambda weights, context: dict(weights)).fingerprint()

    assert "<lambda>" in fingerprint()
    assert "0x" not in fingerprint()


@pytest.mark.parametrize("schedule", [OneShot, None])
def test_a_schedule_that_is_none_is_refused(schedule):
    with pytest.raises(SettingError, match="schedule is a name or an object"):
        Pruner(network(), schedule=schedule)


def test_making_a_pruner_changes_nothing():
    model = network()
    before = copy.deepcopy(model.state_dict())
    Pruner(model, 0.9, schedule=OneShot())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


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


# Criteria that learn while training


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


# Allocations that look at the model


def test_an_allocation_looks_at_the_model_once_when_the_pruner_is_attached():
    class Looks:
        seen = 0

        def prepared(self, context):
            Looks.seen += 1
            assert context.data == "data"
            return lambda scores, kept: {"0.weight": kept - 20, "3.weight": 20}

        def __call__(self, scores, kept):
            raise AssertionError("was not prepared")

    model = network()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = Pruner(model, 0.8, allocation=Looks(), schedule=Cubic(begin=1, end=5, every=1), data="data")
    assert Looks.seen == 0
    pruner.attach(optimizer)
    train(model, optimizer, batches(6))
    assert Looks.seen == 1
    assert pruner.masks["3.weight"].kept == 20
