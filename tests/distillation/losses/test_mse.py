"""Squared error of logits against loops over the formula, its gradient, and what would go unseen."""

import pytest
import torch

from featherweight.distillation.losses import Lesson, View, losses
from featherweight.errors import ModelError


def logits(n=5, classes=4, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    own, goal = 3 * torch.randn(2, n, classes, generator=draw, dtype=dtype)
    return own.requires_grad_(), goal


def mse(own, goal):
    return losses["mse"]()(View(own), View(goal), Lesson())


def test_equals_the_formula():
    own, goal = logits()
    total = 0.0
    for z, t in zip(own.tolist(), goal.tolist(), strict=True):
        total += sum((a - b) ** 2 for a, b in zip(z, t, strict=True))
    assert mse(own, goal).item() == pytest.approx(total / 5, rel=1e-6)


def test_gradient_is_twice_the_difference_over_the_examples():
    own, goal = logits(dtype=torch.float64)
    (found,) = torch.autograd.grad(mse(own, goal), own)
    torch.testing.assert_close(found, 2 * (own.detach() - goal) / 5)


def test_soft_targets_of_a_high_temperature_tend_to_it():
    own, goal = (x - x.mean(1, keepdim=True) for x in logits(dtype=torch.float64))
    soft = losses["kd"](temperature=1e4)(View(own), View(goal), Lesson())
    assert soft.item() == pytest.approx(mse(own, goal).item() / (2 * 4), rel=1e-3)


def test_equal_logits_cost_nothing():
    _, goal = logits()
    assert mse(goal, goal).item() == 0


def test_a_step_brings_the_student_nearer_and_the_teacher_matters():
    own, goal = logits()
    (real,) = torch.autograd.grad(mse(own, goal), own)
    assert mse(own - 0.5 * real, goal).item() < 0.8 * mse(own, goal).item()
    (blank,) = torch.autograd.grad(mse(own, torch.zeros_like(goal)), own)
    assert (real - blank).norm() > 0.1 * real.norm()


def test_logits_of_tokens_are_refused():
    with pytest.raises(ModelError, match="'token'"):
        mse(*torch.zeros(2, 2, 3, 7))
