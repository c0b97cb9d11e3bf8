"""Similarities of examples against loops over the formula, their gradient, and what would go unseen."""

import math

import pytest
import torch

from featherweight.distillation.losses import Lesson, View, losses
from featherweight.errors import ModelError


def rows(n=4, width=3, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=draw, dtype=dtype)


def sp(own, goal, mask=None):
    own, goal = (x if isinstance(x, tuple) else (x,) for x in (own, goal))
    return losses["sp"]()(View(features=own), View(features=goal), Lesson(mask=mask))


def similarities(features):
    values = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in features] for a in features]
    return [[value / math.hypot(*row) for value in row] for row in values]


def naive(own, goal):
    a, b = similarities(own.flatten(1).tolist()), similarities(goal.flatten(1).tolist())
    n = len(a)
    return sum((a[i][j] - b[i][j]) ** 2 for i in range(n) for j in range(n)) / n**2


def test_equals_the_formula_on_vectors_and_maps_of_any_width():
    own, goal = rows(), rows(width=8, seed=1)
    assert sp(own, goal).item() == pytest.approx(naive(own, goal), rel=1e-5)
    maps = rows(width=2 * 3 * 3, seed=2).view(4, 2, 3, 3)
    assert sp(maps, goal).item() == pytest.approx(naive(maps, goal), rel=1e-5)


def test_pairs_are_averaged():
    own, goal = (rows(), rows(seed=1)), (rows(seed=2), rows(width=5, seed=3))
    both = sp(own, goal).item()
    assert both == pytest.approx((sp(own[0], goal[0]).item() + sp(own[1], goal[1]).item()) / 2, rel=1e-6)


def test_gradient_is_the_one_of_the_header():
    own, goal = rows(dtype=torch.float64).requires_grad_(), rows(width=5, seed=1, dtype=torch.float64)
    (found,) = torch.autograd.grad(sp(own, goal), own)
    a = own.detach()
    h = a @ a.T
    g = h / h.norm(dim=1, keepdim=True)
    other = goal @ goal.T
    d = 2 * (g - other / other.norm(dim=1, keepdim=True)) / 16
    e = (d - (d * g).sum(1, keepdim=True) * g) / h.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found, (e + e.T) @ a)


def test_padding_does_not_count():
    tokens, goal = rows(width=3 * 5).view(4, 5, 3), rows(seed=1)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1], [4]])
    noisy = tokens + 100 * ~mask.unsqueeze(2)
    assert torch.equal(sp(noisy, goal, mask), sp(tokens, goal, mask))
    assert sp(tokens, goal, mask).item() != pytest.approx(sp(tokens, goal).item(), rel=1e-3)
    with pytest.raises(ModelError, match=r"mask \(4, 4\)"):
        sp(tokens, goal, mask[:, :4])


def test_only_similarities_count_and_equal_ones_cost_nothing():
    goal = rows(width=5)
    turned = torch.linalg.qr(rows(5, 5, seed=1)).Q
    assert sp(goal, goal).item() == 0
    assert sp(3 * goal @ turned, goal).item() == pytest.approx(0, abs=1e-6)
    assert sp(rows(width=5, seed=2), goal).item() > 0.01


def test_a_step_brings_the_student_nearer_and_the_teacher_matters():
    own, goal = rows().requires_grad_(), rows(width=5, seed=1)
    before = sp(own, goal)
    (real,) = torch.autograd.grad(before, own)
    assert sp(own - real, goal).item() < 0.9 * before.item()
    (other,) = torch.autograd.grad(sp(own, rows(width=5, seed=4)), own)
    assert (real - other).norm() > 0.1 * real.norm()


def test_a_dead_example_has_a_finite_gradient():
    own = rows()
    own[1] = 0
    own.requires_grad_()
    sp(own, rows(seed=1)).backward()
    assert own.grad.abs().max() < 10


def test_products_are_not_rounded_to_16_bits():
    own, goal = rows(), rows(seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = sp(own, goal)
    assert torch.equal(found, sp(own, goal))
