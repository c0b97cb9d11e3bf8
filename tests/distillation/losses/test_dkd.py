"""Decoupled distillation against loops over the formula, its gradient, and what would go unseen."""

import math

import pytest
import torch

from featherweight.distillation.losses import UNLABELLED, Lesson, View, losses
from featherweight.errors import DataError, ModelError, SettingError

TARGETS = torch.tensor([0, 3, 1, 2, 3])


def logits(n=5, classes=4, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    own, goal = 3 * torch.randn(2, n, classes, generator=draw, dtype=dtype)
    return own.requires_grad_(), goal


def dkd(own, goal, targets=TARGETS, told=None, **settings):
    return losses["dkd"](**settings)(View(own), View(goal), Lesson(targets, temperature=told))


def softmax(row, temperature):
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def divergence(q, p):
    return sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))


def naive(own, goal, targets, alpha=1.0, beta=8.0, temperature=4.0):
    each = []
    for z, t, y in zip(own.tolist(), goal.tolist(), targets.tolist(), strict=True):
        if y == UNLABELLED:
            continue
        p, q = softmax(z, temperature), softmax(t, temperature)
        target = divergence([q[y], 1 - q[y]], [p[y], 1 - p[y]])
        others = divergence(
            [b / (1 - q[y]) for k, b in enumerate(q) if k != y],
            [a / (1 - p[y]) for k, a in enumerate(p) if k != y],
        )
        each.append(alpha * target + beta * others)
    return temperature**2 * sum(each) / len(each)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"alpha": 0.0},
        {"beta": 0.0},
        {"alpha": 2.0, "beta": 0.5, "temperature": 1.0},
    ],
)
def test_equals_the_formula(settings):
    own, goal = logits()
    assert dkd(own, goal, **settings).item() == pytest.approx(naive(own, goal, TARGETS, **settings), rel=1e-4)


def test_gradient_is_the_one_of_the_header():
    own, goal = logits(dtype=torch.float64)
    alpha, beta, temperature = 1.5, 6.0, 3.0
    (found,) = torch.autograd.grad(dkd(own, goal, alpha=alpha, beta=beta, temperature=temperature), own)
    p, q = (own / temperature).softmax(1), (goal / temperature).softmax(1)
    for i, y in enumerate(TARGETS.tolist()):
        for k in range(4):
            off = p[i, y] - q[i, y]
            mine, theirs = p[i, k] / (1 - p[i, y]), q[i, k] / (1 - q[i, y])
            expected = alpha * off if k == y else -alpha * off * mine + beta * (mine - theirs)
            assert found[i, k].item() == pytest.approx(temperature * expected.item() / 5)


def test_soft_targets_are_its_sum_with_the_teachers_doubt_as_beta():
    own, goal = logits(n=1, dtype=torch.float64)
    doubt = 1 - (goal / 4).softmax(1)[0, 2].item()
    soft = losses["kd"](4.0)(View(own), View(goal), Lesson())
    found = dkd(own, goal, torch.tensor([2]), beta=doubt)
    assert found.item() == pytest.approx(soft.item(), rel=1e-9)


def test_examples_without_labels_are_left_out():
    own, goal = logits()
    some = TARGETS.clone()
    some[[1, 4]] = UNLABELLED
    loss = dkd(own, goal, some)
    assert loss.item() == pytest.approx(naive(own, goal, some), rel=1e-4)
    (found,) = torch.autograd.grad(loss, own)
    assert found[[1, 4]].abs().sum() == 0
    assert bool((found[[0, 2, 3]].abs().sum(1) > 0).all())


def test_a_batch_without_any_label_costs_nothing():
    own, goal = logits()
    loss = dkd(own, goal, torch.full((5,), UNLABELLED))
    loss.backward()
    assert loss.item() == 0
    assert own.grad.abs().sum() == 0


def test_it_stays_finite_where_networks_are_sure():
    own = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    for target in range(3):
        loss = dkd(own, torch.tensor([[-1e4, 0.0, 1e4]]), torch.tensor([target]), temperature=1.0)
        (found,) = torch.autograd.grad(loss, own)
        assert bool(loss.isfinite())
        assert bool(found.isfinite().all())


def test_of_two_classes_only_the_targets_part_is_left():
    own, goal = logits(classes=2)
    targets = torch.tensor([0, 1, 1, 0, 1])
    found = dkd(own, goal, targets)
    assert found.item() == pytest.approx(losses["kd"]()(View(own), View(goal), Lesson()).item(), rel=1e-4)


def test_the_distillers_temperature_comes_first():
    own, goal = logits()
    assert torch.equal(dkd(own, goal, told=2.0), dkd(own, goal, temperature=2.0))


def test_equal_logits_cost_nothing_and_a_step_brings_the_student_nearer():
    own, goal = logits()
    assert dkd(goal, goal).item() == pytest.approx(0, abs=1e-5)
    before = dkd(own, goal)
    (slope,) = torch.autograd.grad(before, own)
    assert dkd(own - 0.1 * slope, goal).item() < 0.9 * before.item()


def test_the_teacher_and_the_targets_matter():
    own, goal = logits()
    (real,) = torch.autograd.grad(dkd(own, goal), own)
    (blank,) = torch.autograd.grad(dkd(own, torch.zeros_like(goal)), own)
    (other,) = torch.autograd.grad(dkd(own, goal, (TARGETS + 1) % 4), own)
    assert (real - blank).norm() > 0.1 * real.norm()
    assert (real - other).norm() > 0.1 * real.norm()


def test_targets_that_it_cannot_use_are_refused():
    own, goal = logits()
    with pytest.raises(DataError, match="labels"):
        dkd(own, goal, None)
    with pytest.raises(ModelError, match=r"\(5,\), got targets \(4,\)"):
        dkd(own, goal, TARGETS[:4])
    with pytest.raises(ModelError, match="float32"):
        dkd(own, goal, torch.rand(5))


@pytest.mark.parametrize(
    "settings",
    [{"alpha": -1.0}, {"beta": math.inf}, {"alpha": 0, "beta": 0}, {"temperature": 0}, {"beta": "8"}],
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(SettingError):
        losses["dkd"](**settings)
