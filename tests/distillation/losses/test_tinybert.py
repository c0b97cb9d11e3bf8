"""TinyBERT's two terms against loops, padding, the shared projection, and heads that differ."""

import math

import pytest
import torch

from featherweight.distillation.losses import Heads, Lesson, View, losses
from featherweight.distillation.losses.tinybert import TinyBert, scores
from featherweight.errors import ModelError

MASK = torch.tensor([[True, True, True, False], [True, True, False, False]])


def drawn(width, heads=2, tokens=4, blocks=2, seed=0, dtype=torch.float32, grad=False):
    """Hidden states and attention of ``blocks`` layers."""
    draw = torch.Generator().manual_seed(seed)

    def one(*shape):
        return torch.randn(2, *shape, generator=draw, dtype=dtype).requires_grad_(grad)

    attention = tuple(Heads(*(one(heads, tokens, width // heads) for _ in range(3))) for _ in range(blocks))
    return View(features=tuple(one(tokens, width) for _ in range(blocks)), attention=attention)


def prepared(student, teacher):
    loss = TinyBert()
    loss.prepare(student, teacher)
    return loss


def tinybert(student, teacher, mask=None):
    return prepared(student, teacher)(student, teacher, Lesson(mask=mask))


def naive_hidden(own, goal, mask):
    kept = [(n, t) for n in range(2) for t in range(4) if mask[n][t]]
    squares = [(own[n, t, c] - goal[n, t, c]).item() ** 2 for n, t in kept for c in range(own.shape[2])]
    return sum(squares) / len(squares)


def naive_attention(own, goal, mask):
    def score(heads, n, h, i, j):
        q, k = heads.query[n, h, i].tolist(), heads.key[n, h, j].tolist()
        return sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(len(q))

    kept = [(n, i, j) for n in range(2) for i in range(4) for j in range(4) if mask[n][i] and mask[n][j]]
    squares = [(score(own, n, h, i, j) - score(goal, n, h, i, j)) ** 2 for n, i, j in kept for h in range(2)]
    return sum(squares) / len(squares)


def naive(loss, student, teacher, mask):
    (projector,) = loss.projectors
    hidden = [
        naive_hidden(projector(a), b, mask) for a, b in zip(student.features, teacher.features, strict=True)
    ]
    attention = [
        naive_attention(a, b, mask) for a, b in zip(student.attention, teacher.attention, strict=True)
    ]
    return sum(hidden) / len(hidden) + sum(attention) / len(attention)


def test_it_is_registered():
    assert losses["tinybert"] is TinyBert


@pytest.mark.parametrize("mask", [MASK, None])
@pytest.mark.parametrize("width", [6, 10])
def test_equals_loops(width, mask):
    student, teacher = drawn(6), drawn(width, seed=1)
    loss = prepared(student, teacher)
    expected = naive(loss, student, teacher, torch.ones_like(MASK) if mask is None else mask)
    assert loss(student, teacher, Lesson(mask=mask)).item() == pytest.approx(expected, rel=1e-5)


def test_scores_are_those_before_the_softmax():
    heads = drawn(8).attention[0]
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(x.double() for x in (heads.query, heads.key, heads.value))
    )
    assert torch.allclose(scores(heads).double().softmax(3) @ heads.value.double(), expected, atol=1e-5)


def test_keys_that_queries_share_are_repeated():
    heads = drawn(8, heads=4).attention[0]
    shared = Heads(heads.query, heads.key[:, :2], heads.value[:, :2])
    repeated = Heads(heads.query, heads.key[:, [0, 0, 1, 1]], heads.value)
    assert torch.equal(scores(shared), scores(repeated))


@pytest.mark.parametrize("width", [4, 6])
def test_gradients_in_float64(width):
    student, teacher = (
        drawn(4, blocks=1, dtype=torch.float64),
        drawn(width, blocks=1, seed=1, dtype=torch.float64),
    )
    loss, heads = prepared(student, teacher), student.attention[0]
    x = tuple(t.requires_grad_() for t in (student.features[0], heads.query, heads.key))

    def value(hidden, query, key):
        return loss(
            View(features=(hidden,), attention=(Heads(query, key, heads.value),)), teacher, Lesson(mask=MASK)
        )

    assert torch.autograd.gradcheck(value, x)


def test_the_gradient_of_hidden_states_is_twice_the_difference_over_their_number():
    student, teacher = drawn(6, blocks=1, grad=True), drawn(6, blocks=1, seed=1)
    tinybert(student, teacher).backward()
    expected = 2 * (student.features[0] - teacher.features[0]) / (2 * 4 * 6)
    assert torch.allclose(student.features[0].grad, expected)


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient():
    student = drawn(6, grad=True)
    value = tinybert(student, student)
    value.backward()
    assert value.item() == 0
    assert not any(bool(f.grad.any()) for f in student.features)
    assert not any(bool(x.grad.any()) for h in student.attention for x in (h.query, h.key))


def test_both_terms_count():
    student, teacher = drawn(6), drawn(6, seed=1)
    whole = tinybert(student, teacher).item()
    hidden = tinybert(View(features=student.features, attention=teacher.attention), teacher).item()
    attention = tinybert(View(features=teacher.features, attention=student.attention), teacher).item()
    assert min(hidden, attention) > 0.1
    assert hidden + attention == pytest.approx(whole, rel=1e-5)


def test_padding_changes_nothing():
    student, teacher = drawn(6, grad=True), drawn(10, seed=1)
    loss = prepared(student, teacher)
    value = loss(student, teacher, Lesson(mask=MASK))
    value.backward()
    assert not any(bool(f.grad[~MASK].any()) for f in student.features)
    for heads in student.attention:
        assert not any(bool(x.grad.transpose(1, 2)[~MASK].any()) for x in (heads.query, heads.key))
    for filling in (50.0, torch.nan):
        spoilt = [_filled(view, filling) for view in (student, teacher)]
        assert loss(*spoilt, Lesson(mask=MASK)).item() == value.item()
    assert loss(student, teacher, Lesson()).item() != value.item()


def _filled(view, filling):
    gone = ~MASK[:, None, :, None]
    return View(
        features=tuple(f.masked_fill(~MASK[:, :, None], filling) for f in view.features),
        attention=tuple(
            Heads(*(x.masked_fill(gone, filling) for x in (h.query, h.key, h.value))) for h in view.attention
        ),
    )


def test_a_batch_of_padding_has_no_loss():
    assert tinybert(drawn(6), drawn(10, seed=1), torch.zeros_like(MASK)).item() == 0


def test_one_projection_serves_all_blocks_and_learns():
    student, teacher = drawn(6, blocks=3), drawn(10, blocks=3, seed=1)
    loss = prepared(student, teacher)
    assert [tuple(p.shape) for p in loss.parameters()] == [(10, 6), (10,)]
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.5)
    values = []
    for _ in range(50):
        optimizer.zero_grad()
        values.append(loss(student, teacher, Lesson()))
        values[-1].backward()
        assert all(bool(p.grad.any()) for p in loss.parameters())
        optimizer.step()
    assert values[-1].item() < values[0].item() - 0.1


def test_blocks_of_other_widths_have_a_projection_of_their_own():
    student, teacher = drawn(6), drawn(10, seed=1)
    wider = View(features=(*student.features, torch.randn(2, 4, 7)), attention=student.attention)
    more = View(features=(*teacher.features, torch.randn(2, 4, 10)), attention=teacher.attention)
    assert [tuple(p.mix.weight.shape) for p in prepared(wider, more).projectors] == [(10, 6), (10, 7)]


def test_nothing_is_learnt_where_widths_are_equal():
    assert not list(prepared(drawn(6), drawn(6, seed=1)).parameters())


def test_preparing_again_keeps_the_weights():
    student, teacher = drawn(6), drawn(10, seed=1)
    loss = prepared(student, teacher)
    torch.nn.init.ones_(loss.projectors[0].mix.weight)
    loss.prepare(student, teacher)
    assert bool((loss.projectors[0].mix.weight == 1).all())


@pytest.mark.parametrize(
    ("student", "teacher", "told"),
    [
        (
            drawn(6, heads=2),
            drawn(6, heads=3),
            r"the student has 2, the teacher 3\. Give the student 3 heads, or .* minilm",
        ),
        (drawn(6), drawn(6, tokens=5), "over 4 tokens in the student and 5 in the teacher"),
        (drawn(6), drawn(6, blocks=3), "Attention layers .* shows 2, the teacher 3"),
        (View(attention=drawn(6).attention), drawn(6), "Features .* shows 0, the teacher 2"),
        (View(features=drawn(6).features), drawn(6), "Attention layers .* shows 0, the teacher 2"),
    ],
)
def test_what_cannot_be_compared_is_refused(student, teacher, told):
    loss = TinyBert()
    with pytest.raises(ModelError, match=told):
        loss.prepare(student, teacher)
    assert not list(loss.parameters())


def test_shapes_that_do_not_fit_are_told_of_a_later_pair_too():
    """The projection is shared, and so would be seen with the first pair only."""
    student, teacher = drawn(6), drawn(10, seed=1)
    odd = View(features=(student.features[0], torch.randn(2, 3, 6)), attention=student.attention)
    with pytest.raises(ModelError, match=r"tokens \(2, 3, 6\) to the teacher's tokens \(2, 4, 10\)"):
        TinyBert().prepare(odd, teacher)
