"""DIST against loops over the formula, its gradient, and what would go unseen."""

import math

import pytest
import torch

from featherweight.distillation.losses import Lesson, View, losses
from featherweight.errors import SettingError


def logits(n=5, classes=4, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    own, goal = 2 * torch.randn(2, n, classes, generator=draw, dtype=dtype)
    return own.requires_grad_(), goal


def dist(own, goal, told=None, **settings):
    return losses["dist"](**settings)(View(own), View(goal), Lesson(temperature=told))


def softmax(row, temperature):
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def pearson(a, b):
    middle_a, middle_b = sum(a) / len(a), sum(b) / len(b)
    a, b = [x - middle_a for x in a], [x - middle_b for x in b]
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / (math.hypot(*a) * math.hypot(*b) + 1e-8)


def naive(own, goal, tau=1.0, beta=1.0, gamma=1.0):
    p = [softmax(row, tau) for row in own.tolist()]
    q = [softmax(row, tau) for row in goal.tolist()]
    inter = 1 - sum(pearson(a, b) for a, b in zip(p, q, strict=True)) / len(p)
    columns = list(zip(zip(*p, strict=True), zip(*q, strict=True), strict=True))
    intra = 1 - sum(pearson(a, b) for a, b in columns) / len(columns)
    return tau**2 * (beta * inter + gamma * intra)


@pytest.mark.parametrize(
    "settings", [{}, {"tau": 4.0}, {"beta": 2.0, "gamma": 0.0}, {"beta": 0.0, "gamma": 3.0}]
)
def test_equals_the_formula(settings):
    own, goal = logits()
    assert dist(own, goal, **settings).item() == pytest.approx(naive(own, goal, **settings), rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"tau": 4.0, "beta": 0.5}])
def test_gradient_is_that_of_the_value(settings):
    own, goal = logits(dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: dist(x, goal, **settings), own)


def test_only_relations_count():
    own, _ = logits()
    squeezed = own.detach().softmax(1) * 0.5 + 0.1  # another size and mean, but each correlation is 1
    assert dist(own, squeezed.log()).item() == pytest.approx(0, abs=1e-4)
    soft = losses["kd"](1.0)(View(own), View(squeezed.log()), Lesson())
    assert soft.item() > 0.1


def test_the_distillers_temperature_comes_first():
    own, goal = logits()
    assert torch.equal(dist(own, goal, told=2.0), dist(own, goal, tau=2.0))


def test_equal_logits_cost_nothing_and_a_step_brings_the_student_nearer():
    own, goal = logits()
    assert dist(goal, goal).item() == pytest.approx(0, abs=1e-5)
    before = dist(own, goal)
    (slope,) = torch.autograd.grad(before, own)
    after = own - slope
    assert dist(after, goal).item() < 0.9 * before.item()
    soft = [losses["kd"](1.0)(View(x), View(goal), Lesson()).item() for x in (own, after)]
    assert soft[1] < soft[0]


def test_the_teacher_matters_and_a_constant_one_teaches_nothing():
    own, goal = logits()
    (real,) = torch.autograd.grad(dist(own, goal), own)
    (other,) = torch.autograd.grad(dist(own, logits(seed=1)[1]), own)
    (blank,) = torch.autograd.grad(dist(own, torch.zeros_like(goal)), own)
    assert (real - other).norm() > 0.1 * real.norm()
    assert blank.abs().sum() == 0


@pytest.mark.parametrize("n", [5, 11, 23])
def test_a_student_whose_outputs_are_all_equal_does_not_explode(n):
    _, goal = logits(n, classes=7)
    own = torch.full_like(goal, 0.3, requires_grad=True)
    columns = own.detach().softmax(1).T.contiguous()
    assert bool((columns - columns.mean(1, keepdim=True)).any()) == (n > 5), "these means are rounded"
    loss = dist(own, goal)
    loss.backward()
    assert loss.item() == pytest.approx(2)
    assert own.grad.abs().sum() == 0


def test_of_one_example_only_its_own_relations_are_left():
    own, goal = logits(n=1)
    assert dist(own, goal).item() == pytest.approx(naive(own, goal, gamma=0.0), rel=1e-5)


@pytest.mark.parametrize("settings", [{"tau": 0}, {"beta": -1}, {"beta": 0, "gamma": 0}, {"gamma": math.nan}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(SettingError):
        losses["dist"](**settings)
