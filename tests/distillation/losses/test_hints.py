"""Hints against loops over the formula, what the projectors do, and what would go unseen."""

import copy

import pytest
import torch

from featherweight.distillation.losses import Lesson, View, losses
from featherweight.distillation.losses.hints import Hints
from featherweight.errors import ModelError, SettingError


def drawn(*shapes, seed=0, dtype=torch.float32, grad=False):
    draw = torch.Generator().manual_seed(seed)
    features = tuple(torch.randn(shape, generator=draw, dtype=dtype) for shape in shapes)
    return View(features=tuple(x.requires_grad_(grad) for x in features))


def prepared(student, teacher, **options):
    loss = Hints(**options)
    loss.prepare(student, teacher)
    return loss


def naive(own, goal):
    """Mean over all elements of the squared difference, one by one."""
    pairs = list(zip(own.flatten().tolist(), goal.flatten().tolist(), strict=True))
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs)


def test_it_is_registered():
    assert losses["hints"] is Hints


def test_equals_loops_for_maps_tokens_and_vectors():
    student = drawn((2, 3, 4, 4), (2, 5, 3), (2, 3))
    teacher = drawn((2, 4, 2, 2), (2, 5, 4), (2, 4), seed=1)
    loss = prepared(student, teacher)
    projected = [p(x) for p, x in zip(loss.projectors, student.features, strict=True)]
    expected = sum(naive(a, b) for a, b in zip(projected, teacher.features, strict=True)) / 3
    assert loss(student, teacher, Lesson()).item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_twice_the_difference_over_the_number_of_elements():
    student, teacher = drawn((2, 3, 4, 4), grad=True), drawn((2, 3, 4, 4), seed=1)
    prepared(student, teacher, identity=True)(student, teacher, Lesson()).backward()
    expected = 2 * (student.features[0] - teacher.features[0]) / (2 * 3 * 4 * 4)
    assert torch.allclose(student.features[0].grad, expected)


def test_gradients_in_float64():
    student, teacher = (
        drawn((2, 3, 4, 4), (2, 5, 3), dtype=torch.float64),
        drawn((2, 4, 2, 2), (2, 5, 4), seed=1),
    )
    loss = prepared(student, teacher)
    assert loss.projectors[0].mix.weight.dtype == torch.float64
    x = tuple(f.requires_grad_() for f in student.features)
    assert torch.autograd.gradcheck(lambda *f: loss(View(features=f), teacher, Lesson()), x)


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient():
    student = drawn((2, 3, 4, 4), (2, 5, 3), grad=True)
    loss = prepared(student, student)
    value = loss(student, student, Lesson())
    value.backward()
    assert value.item() == 0
    assert not any(bool(f.grad.any()) for f in student.features)
    assert not any(bool(p.grad.any()) for p in loss.parameters())


def test_training_the_projectors_alone_lowers_the_loss():
    student, teacher = drawn((16, 8), (4, 3, 4, 4)), drawn((16, 4), (4, 6, 2, 2), seed=1)
    loss = prepared(student, teacher)
    first = loss(student, teacher, Lesson())
    first.backward()
    assert all(bool(p.grad.any()) for p in loss.parameters())
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        value = loss(student, teacher, Lesson())
        value.backward()
        optimizer.step()
    assert value.item() < 0.9 * first.item()


def test_padding_counts_for_nothing():
    student, teacher = drawn((2, 4, 3), grad=True), drawn((2, 4, 5), seed=1)
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    loss = prepared(student, teacher)
    value = loss(student, teacher, Lesson(mask=mask))
    value.backward()
    assert not bool(student.features[0].grad[~mask].any())
    kept = loss.projectors[0](student.features[0])[mask], teacher.features[0][mask]
    assert value.item() == pytest.approx(naive(*kept), rel=1e-5)
    spoilt = View(features=(teacher.features[0].masked_fill(~mask[:, :, None], torch.nan),))
    assert loss(student, spoilt, Lesson(mask=mask)).item() == value.item()


def test_a_batch_of_padding_has_no_loss_and_no_gradient():
    student, teacher = drawn((2, 4, 3), grad=True), drawn((2, 4, 3), seed=1)
    value = prepared(student, teacher)(student, teacher, Lesson(mask=torch.zeros(2, 4, dtype=torch.bool)))
    value.backward()
    assert value.item() == 0
    assert not bool(student.features[0].grad.any())


def test_pairs_are_chosen_by_position():
    student, teacher = drawn((2, 3), (2, 4), (2, 5)), drawn((2, 3), (2, 4), (2, 5), seed=1)
    loss = prepared(student, teacher, pairs=[-1, 0], identity=True)
    expected = (
        naive(student.features[2], teacher.features[2]) + naive(student.features[0], teacher.features[0])
    ) / 2
    assert loss(student, teacher, Lesson()).item() == pytest.approx(expected, rel=1e-5)
    assert len(prepared(student, teacher, pairs=[1]).projectors) == 1


def test_preparing_again_keeps_the_weights():
    student, teacher = drawn((2, 3, 4, 4), (2, 5, 3)), drawn((2, 4, 2, 2), (2, 5, 4), seed=1)
    loss = prepared(student, teacher)
    parameters = list(loss.parameters())
    torch.nn.init.ones_(parameters[0])
    before = copy.deepcopy(loss.state_dict())
    loss.prepare(drawn((7, 3, 8, 8), (7, 9, 3)), drawn((7, 4, 4, 4), (7, 9, 4)))  # another batch
    assert all(a is b for a, b in zip(parameters, loss.parameters(), strict=True))
    assert all(torch.equal(before[k], v) for k, v in loss.state_dict().items())


def test_two_pairs_of_one_shape_have_projectors_of_their_own():
    student, teacher = drawn((2, 3), (2, 3)), drawn((2, 4), (2, 4), seed=1)
    first, second = (p.mix.weight for p in prepared(student, teacher).projectors)
    assert not torch.equal(first, second)


def test_weights_come_back_from_a_checkpoint():
    student, teacher = drawn((2, 3)), drawn((2, 4), seed=1)
    loss, other = prepared(student, teacher), prepared(student, teacher)
    torch.nn.init.ones_(loss.projectors[0].mix.weight)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(loss(student, teacher, Lesson()), other(student, teacher, Lesson()))


def test_projectors_made_in_inference_mode_can_be_trained():
    student, teacher = drawn((2, 3)), drawn((2, 4), seed=1)
    with torch.inference_mode():
        loss = prepared(student, teacher)
    loss(student, teacher, Lesson()).backward()
    assert bool(loss.projectors[0].mix.weight.grad.any())


def test_the_teacher_gets_no_gradient():
    student, teacher = drawn((2, 3)), drawn((2, 4), seed=1, grad=True)
    prepared(student, teacher)(student, teacher, Lesson()).backward()
    assert teacher.features[0].grad is None


def test_half_precision_is_computed_in_float32():
    student, teacher = drawn((2, 3), dtype=torch.bfloat16), drawn((2, 4), seed=1, dtype=torch.float16)
    assert prepared(student, teacher)(student, teacher, Lesson()).dtype == torch.float32


@pytest.mark.parametrize("pairs", [[], "01", [0, 0], [1.0], [True], 3])
def test_pairs_are_positions(pairs):
    with pytest.raises(SettingError, match="pairs is a list of positions"):
        Hints(pairs=pairs)


@pytest.mark.parametrize(
    ("student", "teacher", "told"),
    [
        (drawn(), drawn(), "the student shows 0, the teacher 0"),
        (drawn((2, 3)), drawn((2, 3), (2, 3)), "the student shows 1, the teacher 2"),
        (drawn((2, 3)), drawn((2, 3, 4, 4)), r"vector \(2, 3\) to the teacher's map \(2, 3, 4, 4\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(student, teacher, told):
    loss = Hints()
    with pytest.raises(ModelError, match=told):
        loss.prepare(student, teacher)
    assert not list(loss.parameters())


def test_a_position_that_is_not_there_is_told():
    with pytest.raises(ModelError, match=r"pairs=\(2,\) of hints: there are 1"):
        prepared(drawn((2, 3)), drawn((2, 3)), pairs=[2])


def test_a_loss_without_projectors_or_for_other_networks_is_refused():
    student, teacher = drawn((2, 3)), drawn((2, 4))
    with pytest.raises(ModelError, match=r"made for nothing yet.*call prepare once"):
        Hints()(student, teacher, Lesson())
    loss = prepared(student, teacher)
    for call in (
        lambda: loss.prepare(drawn((2, 5)), teacher),
        lambda: loss(drawn((2, 5)), teacher, Lesson()),
    ):
        with pytest.raises(ModelError, match="a loss for each pair of networks"):
            call()


def test_a_mask_of_other_tokens_is_told():
    student, teacher = drawn((2, 4, 3)), drawn((2, 4, 3), seed=1)
    with pytest.raises(ModelError, match=r"mask of padding is \(2, 6\), and tokens are \(2, 4, 3\)"):
        prepared(student, teacher)(student, teacher, Lesson(mask=torch.ones(2, 6, dtype=torch.bool)))
