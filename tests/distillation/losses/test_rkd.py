"""Relational distillation against loops over the formula, its gradient, and what would go unseen."""

import math

import pytest
import torch

from featherweight.distillation.losses import Lesson, View, losses, rkd
from featherweight.errors import ModelError, SettingError


def rows(n=5, width=3, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=draw, dtype=dtype)


def relational(own, goal, mask=None, **settings):
    return losses["rkd"](**settings)(View(features=(own,)), View(features=(goal,)), Lesson(mask=mask))


def huber(x):
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def distances(points):
    found = [[math.dist(a, b) for b in points] for a in points]
    positive = [d for line in found for d in line if d > 0]
    return [[d * len(positive) / sum(positive) for d in line] for line in found]


def cosine(a, vertex, b):
    u, v = [x - y for x, y in zip(a, vertex, strict=True)], [x - y for x, y in zip(b, vertex, strict=True)]
    lengths = math.hypot(*u) * math.hypot(*v)
    return sum(x * y for x, y in zip(u, v, strict=True)) / lengths if lengths else 0.0


def naive(own, goal, distance=25.0, angle=50.0):
    own, goal = own.tolist(), goal.tolist()
    n = len(own)
    d, e = distances(own), distances(goal)
    first = sum(huber(d[i][j] - e[i][j]) for i in range(n) for j in range(n)) / n**2
    second = 0.0
    for i in range(n):
        for j in range(n):
            for k in range(n):
                second += huber(cosine(own[i], own[j], own[k]) - cosine(goal[i], goal[j], goal[k]))
    return distance * first + angle * second / n**3


@pytest.mark.parametrize("settings", [{}, {"distance": 0}, {"angle": 0}, {"distance": 1.0, "angle": 2.0}])
def test_equals_the_formula(settings):
    own, goal = rows(), 7 * rows(width=6, seed=1)
    assert relational(own, goal, **settings).item() == pytest.approx(naive(own, goal, **settings), rel=1e-5)


@pytest.mark.parametrize("numbers", [2**24, 30, 1])
@pytest.mark.parametrize("settings", [{"distance": 0}, {"angle": 0}])
def test_gradient_is_that_of_the_value_in_any_number_of_rounds(settings, numbers, monkeypatch):
    monkeypatch.setattr(rkd, "NUMBERS", numbers)
    own, goal = rows(4, 2, dtype=torch.float64).requires_grad_(), rows(4, seed=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: relational(x, goal, **settings), own)


def test_rounds_change_nothing_and_bound_the_memory(monkeypatch):
    own, goal = rows(11).requires_grad_(), rows(11, seed=1)
    whole = relational(own, goal)
    (slope,) = torch.autograd.grad(whole, own)
    sizes = []
    plain = rkd._cosines
    monkeypatch.setattr(rkd, "NUMBERS", 3 * 11 * 11 + 5)
    monkeypatch.setattr(
        rkd, "_cosines", lambda x, some: sizes.append(plain(x, some).numel()) or plain(x, some)
    )
    parts = relational(own, goal)
    (again,) = torch.autograd.grad(parts, own)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(again, slope)
    assert len(sizes) == 2 * 2 * 4, "student and teacher, forward and backward, four rounds"
    assert max(sizes) <= rkd.NUMBERS


def test_the_paper_weighs_angles_twice():
    loss = losses["rkd"]()
    assert (loss.distance, loss.angle) == (25, 50)


def test_only_relations_count_and_equal_ones_cost_nothing():
    goal = rows(width=4)
    turned = torch.linalg.qr(rows(4, 4, seed=1)).Q
    assert relational(goal, goal).item() == 0
    assert relational(3 * goal @ turned + 2, goal).item() == pytest.approx(0, abs=1e-5)
    assert relational(rows(width=4, seed=2), goal).item() > 1


def test_a_step_brings_the_student_nearer_and_the_teacher_matters():
    own, goal = rows().requires_grad_(), rows(seed=1)
    before = relational(own, goal)
    (real,) = torch.autograd.grad(before, own)
    assert relational(own - 0.02 * real, goal).item() < 0.95 * before.item()
    (other,) = torch.autograd.grad(relational(own, rows(seed=3)), own)
    assert (real - other).norm() > 0.1 * real.norm()


def test_equal_examples_and_single_ones_have_finite_gradients():
    own, goal = rows()[[0, 1, 1, 2]].requires_grad_(), rows(seed=1)[[0, 0, 1, 2]]
    loss = relational(own, goal)
    loss.backward()
    assert loss.item() == pytest.approx(naive(own, goal), rel=1e-5)
    assert bool(own.grad.isfinite().all())
    for n in (1, 3):
        same = rows(1).repeat(n, 1).requires_grad_()
        loss = relational(same, rows(n, seed=1))
        loss.backward()
        assert bool(same.grad.isfinite().all())
    assert relational(rows(1), rows(1, seed=1)).item() == 0


def test_distances_of_close_examples_are_not_lost_in_rounding():
    own = 100 + 1e-2 * rows(40)
    assert relational(own, own.double(), angle=0).item() == pytest.approx(0, abs=1e-3)


def test_maps_and_tokens_are_averaged():
    goal = rows(seed=1)
    maps = rows(width=2 * 3 * 4).view(5, 2, 3, 4)
    torch.testing.assert_close(relational(maps, goal), relational(maps.flatten(2).mean(2), goal))
    tokens = rows(width=4 * 2).view(5, 4, 2)
    torch.testing.assert_close(relational(tokens, goal), relational(tokens.mean(1), goal))
    mask = torch.arange(4) < torch.tensor([[4], [1], [2], [3], [4]])
    means = torch.stack([one[kept].mean(0) for one, kept in zip(tokens, mask, strict=True)])
    torch.testing.assert_close(relational(tokens, goal, mask), relational(means, goal))


def test_products_are_not_rounded_to_16_bits():
    own, goal = rows(), rows(seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = relational(own, goal)
    assert torch.equal(found, relational(own, goal))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ModelError, match=r"student's is \(5, 3\), the teacher's \(4, 3\)"):
        relational(rows(), rows(4))
    with pytest.raises(ModelError, match=r"got \(5, 1, 1, 1, 3\)"):
        relational(rows().view(5, 1, 1, 1, 3), rows())
    with pytest.raises(SettingError, match="all 0"):
        losses["rkd"](0, 0)
    with pytest.raises(SettingError, match="angle"):
        losses["rkd"](angle=-1)
