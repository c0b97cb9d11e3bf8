"""Soft targets against loops over the formula, their gradient, and what would go unseen."""

import math

import pytest
import torch

from featherweight.distillation.losses import Lesson, View, losses
from featherweight.errors import ModelError, SettingError


def logits(n=5, classes=4, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    own, goal = 3 * torch.randn(2, n, classes, generator=draw, dtype=dtype)
    return own.requires_grad_(), goal


def kd(own, goal, temperature=4.0, told=None):
    return losses["kd"](temperature)(View(own), View(goal), Lesson(temperature=told))


def softmax(row, temperature):
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def naive(own, goal, temperature):
    total = 0.0
    for z, t in zip(own.tolist(), goal.tolist(), strict=True):
        p, q = softmax(z, temperature), softmax(t, temperature)
        total += sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(own)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_equals_the_formula(temperature):
    own, goal = logits()
    assert kd(own, goal, temperature).item() == pytest.approx(naive(own, goal, temperature), rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gradient_is_the_difference_of_the_softened_classes(temperature):
    own, goal = logits(dtype=torch.float64)
    (found,) = torch.autograd.grad(kd(own, goal, temperature), own)
    expected = temperature * ((own / temperature).softmax(1) - (goal / temperature).softmax(1)) / len(own)
    torch.testing.assert_close(found, expected)


def test_the_distillers_temperature_comes_first():
    own, goal = logits()
    assert torch.equal(kd(own, goal, 4.0, told=2.0), kd(own, goal, 2.0))


def test_equal_logits_cost_nothing_and_no_others_cost_less():
    own, goal = logits()
    assert kd(goal, goal).item() == pytest.approx(0, abs=1e-6)
    assert kd(own, goal).item() > 0.1


def test_a_step_brings_the_student_nearer():
    own, goal = logits()
    kd(own, goal).backward()
    moved = own - 3 * own.grad
    assert kd(moved, goal).item() < 0.8 * kd(own, goal).item()


def test_the_teacher_matters():
    own, goal = logits()
    (real,) = torch.autograd.grad(kd(own, goal), own)
    (blank,) = torch.autograd.grad(kd(own, torch.zeros_like(goal)), own)
    assert (real - blank).norm() > 0.1 * real.norm()


def test_logits_of_tokens_are_refused():
    own, goal = torch.zeros(2, 2, 3, 7)
    with pytest.raises(ModelError, match=r"\(n, classes\), got \(2, 3, 7\)"):
        kd(own, goal)


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan, "4"])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(SettingError, match="temperature"):
        losses["kd"](temperature)
