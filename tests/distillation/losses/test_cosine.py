"""Cosine of hidden states against loops, its closed forms, and what padding does."""

import math

import pytest
import torch

from featherweight.distillation.losses import Lesson, View, losses
from featherweight.distillation.losses.cosine import CosineDistance
from featherweight.errors import ModelError


def drawn(*shapes, seed=0, dtype=torch.float32, grad=False):
    draw = torch.Generator().manual_seed(seed)
    features = tuple(torch.randn(shape, generator=draw, dtype=dtype) for shape in shapes)
    return View(features=tuple(x.requires_grad_(grad) for x in features))


def prepared(student, teacher):
    loss = CosineDistance()
    loss.prepare(student, teacher)
    return loss


def cosine(student, teacher, mask=None):
    return prepared(student, teacher)(student, teacher, Lesson(mask=mask))


def distance(a, b):
    a, b = a.tolist(), b.tolist()
    return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def naive(own, goal, mask):
    kept = [(i, t) for i in range(len(mask)) for t in range(len(mask[i])) if mask[i][t]]
    return sum(distance(own[i, t], goal[i, t]) for i, t in kept) / len(kept)


MASK = torch.tensor([[True, True, False, False], [True, True, True, False]])


def test_it_is_registered():
    assert losses["cosine"] is CosineDistance


@pytest.mark.parametrize("mask", [MASK, None])
def test_equals_loops_over_the_tokens_of_all_pairs(mask):
    student, teacher = drawn((2, 4, 5), (2, 4, 6)), drawn((2, 4, 5), (2, 4, 6), seed=1)
    full = torch.ones(2, 4, dtype=torch.bool) if mask is None else mask
    pairs = zip(student.features, teacher.features, strict=True)
    expected = sum(naive(a, b, full) for a, b in pairs) / 2
    assert cosine(student, teacher, mask).item() == pytest.approx(expected, rel=1e-5)


def test_of_a_map_each_position_is_a_vector_and_of_vectors_each_example():
    student, teacher = drawn((2, 5, 2, 3)), drawn((2, 5, 2, 3), seed=1)
    a, b = student.features[0], teacher.features[0]
    each = [distance(a[n, :, i, j], b[n, :, i, j]) for n in range(2) for i in range(2) for j in range(3)]
    assert cosine(student, teacher).item() == pytest.approx(sum(each) / 12, rel=1e-5)
    student, teacher = drawn((2, 5)), drawn((2, 5), seed=1)
    each = [distance(student.features[0][n], teacher.features[0][n]) for n in range(2)]
    assert cosine(student, teacher).item() == pytest.approx(sum(each) / 2, rel=1e-5)


def test_only_directions_count():
    own = drawn((2, 4, 5)).features[0]
    for factor, expected in ((3.0, 0.0), (-0.5, 2.0)):
        value = cosine(View(features=(own,)), View(features=(factor * own,)))
        assert value.item() == pytest.approx(expected, abs=1e-6)
    ahead, aside = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 3**0.5]]])
    assert cosine(View(features=(ahead,)), View(features=(aside,))).item() == pytest.approx(0.5)


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient():
    student = drawn((2, 4, 5), dtype=torch.float64, grad=True)
    value = cosine(student, student)
    value.backward()
    assert abs(value.item()) < 1e-12
    assert float(student.features[0].grad.abs().max()) < 1e-12


@pytest.mark.parametrize("width", [5, 7])
def test_gradients_in_float64(width):
    student, teacher = (
        drawn((2, 4, 5), dtype=torch.float64),
        drawn((2, 4, width), seed=1, dtype=torch.float64),
    )
    loss, x = prepared(student, teacher), student.features[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(View(features=(x,)), teacher, Lesson(mask=MASK)), (x,))


def test_the_gradient_is_what_is_left_of_the_teacher_across_the_student():
    """Of 1 - cos(x, y): -(y' - cos x') / |x|, with x' and y' of unit length."""
    student, teacher = drawn((1, 5), grad=True), drawn((1, 5), seed=1)
    cosine(student, teacher).backward()
    x, y = student.features[0].detach()[0], teacher.features[0][0]
    unit_x, unit_y = x / x.norm(), y / y.norm()
    expected = -(unit_y - (unit_x @ unit_y) * unit_x) / x.norm()
    assert torch.allclose(student.features[0].grad[0], expected, atol=1e-6)


def test_padding_changes_nothing():
    student, teacher = drawn((2, 4, 5), grad=True), drawn((2, 4, 7), seed=1)
    loss = prepared(student, teacher)
    value = loss(student, teacher, Lesson(mask=MASK))
    value.backward()
    assert not bool(student.features[0].grad[~MASK].any())
    assert bool(student.features[0].grad[MASK].all())
    for filling in (1e6, torch.nan):
        spoilt = [
            View(features=(v.features[0].masked_fill(~MASK[:, :, None], filling),))
            for v in (student, teacher)
        ]
        assert loss(*spoilt, Lesson(mask=MASK)).item() == value.item()
    assert loss(student, teacher, Lesson()).item() != value.item()


def test_a_batch_of_padding_has_no_loss():
    student, teacher = drawn((2, 4, 5)), drawn((2, 4, 5), seed=1)
    assert cosine(student, teacher, torch.zeros_like(MASK)).item() == 0


def test_widths_that_differ_and_only_those_get_a_projector_that_learns():
    student, teacher = drawn((2, 4, 5), (2, 4, 6)), drawn((2, 4, 5), (2, 4, 7), seed=1)
    loss = prepared(student, teacher)
    assert [tuple(p.shape) for p in loss.parameters()] == [(7, 6), (7,)]
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    values = []
    for _ in range(50):
        optimizer.zero_grad()
        values.append(loss(student, teacher, Lesson()))
        values[-1].backward()
        assert all(bool(p.grad.any()) for p in loss.parameters())
        optimizer.step()
    assert values[-1].item() < values[0].item() - 0.1


def test_tokens_that_cannot_be_matched_are_refused():
    with pytest.raises(ModelError, match=r"tokens \(2, 4, 5\) to the teacher's tokens \(2, 6, 5\)"):
        cosine(drawn((2, 4, 5)), drawn((2, 6, 5)))


def test_the_mask_must_be_of_the_tokens():
    with pytest.raises(ModelError, match=r"mask of padding is \(2, 4\), and tokens are \(2, 3, 5\)"):
        cosine(drawn((2, 3, 5)), drawn((2, 3, 5)), MASK)
