"""Attention transfer against loops, its closed forms, resolutions, and vision transformers."""

import math

import pytest
import torch
from torch.nn import functional as F

from featherweight.distillation.losses import Lesson, View, losses
from featherweight.distillation.losses.attention_transfer import AttentionTransfer, energy
from featherweight.errors import ModelError


def drawn(*shapes, seed=0, dtype=torch.float32, grad=False):
    draw = torch.Generator().manual_seed(seed)
    features = tuple(torch.randn(shape, generator=draw, dtype=dtype) for shape in shapes)
    return View(features=tuple(x.requires_grad_(grad) for x in features))


def at(student, teacher, mask=None):
    loss = AttentionTransfer()
    loss.prepare(student, teacher)
    return loss(student, teacher, Lesson(mask=mask))


def unit(image):
    """One map (channels, h, w) as a list of unit length."""
    _, h, w = image.shape
    energies = [sum(float(v) ** 2 for v in image[:, i, j]) / len(image) for i in range(h) for j in range(w)]
    return [e / math.hypot(*energies) for e in energies]


def naive(own, goal):
    each = [
        sum((a - b) ** 2 for a, b in zip(unit(x), unit(y), strict=True))
        for x, y in zip(own, goal, strict=True)
    ]
    return sum(each) / len(each)


def test_it_is_registered():
    assert losses["at"] is AttentionTransfer


def test_equals_loops_over_positions_for_any_channels():
    student, teacher = drawn((2, 3, 4, 5), (2, 6, 2, 2)), drawn((2, 8, 4, 5), (2, 6, 2, 2), seed=1)
    pairs = zip(student.features, teacher.features, strict=True)
    assert at(student, teacher).item() == pytest.approx(sum(naive(*pair) for pair in pairs) / 2, rel=1e-5)


def test_it_is_two_minus_twice_the_cosine_of_the_energies():
    student, teacher = drawn((3, 4, 5, 5)), drawn((3, 2, 5, 5), seed=1)
    a, b = (v.features[0].square().mean(1).flatten(1) for v in (student, teacher))
    assert at(student, teacher).item() == pytest.approx(
        (2 - 2 * F.cosine_similarity(a, b)).mean().item(), rel=1e-5
    )


def test_energies_that_do_not_overlap_are_two_apart_and_size_and_sign_do_not_count():
    left, right = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    left[..., 0], right[..., 1] = 3.0, 0.1
    assert at(View(features=(left,)), View(features=(right,))).item() == pytest.approx(2)
    assert at(View(features=(left,)), View(features=(-7 * left,))).item() == pytest.approx(0, abs=1e-6)


def test_gradients_in_float64():
    student = drawn((2, 3, 4, 4), (2, 5, 3), dtype=torch.float64)
    teacher = drawn((2, 8, 2, 2), (2, 4, 6, 6), seed=1, dtype=torch.float64)
    x = tuple(f.requires_grad_() for f in student.features)
    assert torch.autograd.gradcheck(lambda *f: at(View(features=f), teacher), x)


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient():
    student = drawn((2, 3, 4, 4), (2, 17, 3), grad=True)
    value = at(student, student)
    value.backward()
    assert value.item() == 0
    assert not any(bool(f.grad.any()) for f in student.features)


def test_following_the_gradient_moves_the_energy_to_the_teachers():
    student, teacher = drawn((2, 3, 4, 4), grad=True), drawn((2, 8, 4, 4), seed=1)
    first = at(student, teacher)
    optimizer = torch.optim.SGD(student.features, lr=5.0)
    for _ in range(50):
        optimizer.zero_grad()
        value = at(student, teacher)
        value.backward()
        optimizer.step()
    assert value.item() < 0.1 * first.item()


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_resolutions_the_smaller_is_compared(turned):
    views = drawn((2, 3, 8, 4)), drawn((2, 5, 4, 2), seed=1)
    fine = views[0].features[0].square().mean(1, keepdim=True)
    blocks = fine.reshape(2, 1, 4, 2, 2, 2).mean((3, 5)).sqrt()  # a map with that energy
    expected = naive(blocks, views[1].features[0])
    assert at(*(reversed(views) if turned else views)).item() == pytest.approx(expected, rel=1e-5)


def test_tokens_of_a_vision_transformer_are_maps_without_their_class_token():
    tokens, teacher = drawn((2, 17, 3)).features[0], drawn((2, 5, 4, 4), seed=1)
    grid = torch.stack([torch.stack([tokens[:, 1 + 4 * i + j] for j in range(4)], 2) for i in range(4)], 2)
    expected = naive(grid, teacher.features[0])
    assert at(View(features=(tokens,)), teacher).item() == pytest.approx(expected, rel=1e-5)
    assert at(View(features=(tokens[:, 1:],)), teacher).item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(energy(tokens), energy(grid))


def test_padding_has_no_energy():
    student, teacher = drawn((2, 9, 3), grad=True), drawn((2, 9, 5), seed=1)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[0, 5:] = False
    value = at(student, teacher, mask)
    value.backward()
    assert not bool(student.features[0].grad[~mask].any())
    spoilt = [
        View(features=(v.features[0].masked_fill(~mask[:, :, None], torch.nan),)) for v in (student, teacher)
    ]
    assert at(*spoilt, mask).item() == value.item()
    assert at(student, teacher).item() != value.item()


def test_large_half_precision_values_do_not_overflow():
    student = View(features=(torch.full((1, 2, 2, 2), 1e4, dtype=torch.float16),))
    value = at(student, drawn((1, 2, 2, 2)))
    assert value.dtype == torch.float32
    assert bool(value.isfinite())


def test_a_dead_student_has_a_finite_loss_and_gradient():
    student = View(features=(torch.zeros(1, 2, 2, 2, requires_grad=True),))
    value = at(student, drawn((1, 2, 2, 2)))
    value.backward()
    assert value.item() == pytest.approx(1)
    assert bool(student.features[0].grad.isfinite().all())


@pytest.mark.parametrize("shape", [(2, 5), (2, 7, 5), (2, 5, 4, 4, 4)])
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_no_map_is_refused(shape, turned):
    views = drawn(shape), drawn((2, 5, 4, 4))
    with pytest.raises(ModelError, match="square grid") as error:
        AttentionTransfer().prepare(*(reversed(views) if turned else views))
    assert str(shape) in str(error.value)


def test_features_are_compared_one_to_one():
    with pytest.raises(ModelError, match="the student shows 2, the teacher 1"):
        AttentionTransfer().prepare(drawn((2, 5, 4, 4), (2, 5, 2, 2)), drawn((2, 5, 4, 4)))
