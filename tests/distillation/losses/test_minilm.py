"""Relations of self-attention against loops, padding, and heads and widths that differ."""

import math

import pytest
import torch

from featherweight.distillation.losses import Heads, Lesson, View, losses
from featherweight.distillation.losses.minilm import Relations, log_relations
from featherweight.errors import ModelError, SettingError

MASK = torch.tensor([[True, True, True, False], [True, True, False, False]])


def drawn(heads, width, tokens=4, seed=0, layers=1, dtype=torch.float32, grad=False):
    draw = torch.Generator().manual_seed(seed)

    def one():
        return torch.randn(2, heads, tokens, width, generator=draw, dtype=dtype).requires_grad_(grad)

    return View(attention=tuple(Heads(one(), one(), one()) for _ in range(layers)))


def parts(heads):
    return heads.query, heads.key, heads.value


def minilm(student, teacher, mask=None, **options):
    loss = Relations(**options)
    loss.prepare(student, teacher)
    return loss(student, teacher, Lesson(mask=mask))


def relation(x, number, mask):
    """Softmax over the tokens that are kept, of one example (tokens, width): [head][i][j], lists."""
    d = len(x[0]) // number
    kept = [t for t in range(len(x)) if mask[t]]
    found = []
    for a in range(number):
        part = [row[a * d : (a + 1) * d] for row in x]
        scores = [
            [sum(p * q for p, q in zip(part[i], part[j], strict=True)) / math.sqrt(d) for j in kept]
            for i in kept
        ]
        exps = [[math.exp(s) for s in row] for row in scores]
        found.append([[e / sum(row) for e in row] for row in exps])
    return found


def naive(student, teacher, number, mask):
    """Sum over Q, K, V of the mean over relation heads and kept tokens of KL."""
    total = 0.0
    for own, goal in zip(parts(student), parts(teacher), strict=True):
        divergence, count = 0.0, 0
        for n in range(len(mask)):
            rows = [x[n].transpose(0, 1).flatten(1).tolist() for x in (own, goal)]  # heads side by side
            p, q = (relation(x, number, mask[n]) for x in rows)
            for own_head, goal_head in zip(p, q, strict=True):
                for own_row, goal_row in zip(own_head, goal_head, strict=True):
                    divergence += sum(b * math.log(b / a) for a, b in zip(own_row, goal_row, strict=True))
                    count += 1
        total += divergence / count
    return total


def test_it_is_registered():
    assert losses["minilm"] is Relations


@pytest.mark.parametrize("mask", [MASK, None])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_equals_loops_where_heads_and_widths_differ(number, mask):
    student, teacher = drawn(2, 4), drawn(3, 4, seed=1)
    full = torch.ones_like(MASK) if mask is None else mask
    expected = naive(student.attention[0], teacher.attention[0], number, full.tolist())
    got = minilm(student, teacher, mask, relation_heads=number)
    assert got.item() == pytest.approx(expected, rel=1e-4)


def test_over_several_layers_it_is_the_mean():
    student, teacher = drawn(2, 4, layers=2), drawn(2, 4, layers=2, seed=1)
    each = [
        minilm(View(attention=(a,)), View(attention=(b,)))
        for a, b in zip(student.attention, teacher.attention, strict=True)
    ]
    assert minilm(student, teacher).item() == pytest.approx((each[0] + each[1]).item() / 2, rel=1e-5)


def test_relations_are_distributions_over_tokens_that_are_not_padding():
    x = drawn(2, 4).attention[0].query
    p = log_relations(x, 2, MASK).exp()
    assert torch.allclose(p.sum(3), torch.ones(2, 2, 4))
    assert not bool(p.masked_select(~MASK[:, None, None, :].expand_as(p)).any())


def test_with_its_own_heads_a_relation_is_the_attention_of_a_tensor_with_itself():
    x = drawn(3, 4).attention[0].value
    expected = (x @ x.mT / 2).softmax(3).log()
    assert torch.allclose(log_relations(x, 3, None), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher", "number"),
    [((2, 4), (2, 4), 2), ((6, 4), (12, 4), 12), ((12, 26), (12, 64), 12), ((1, 10), (4, 15), 2),
     ((1, 7), (3, 5), 1)],
)  # fmt: skip
def test_unasked_relation_heads_are_as_many_as_the_teachers_where_widths_allow(student, teacher, number):
    own, goal = drawn(*student), drawn(*teacher, seed=1)
    assert minilm(own, goal).item() == minilm(own, goal, relation_heads=number).item()


def test_keys_and_values_may_have_fewer_heads():
    def grouped(seed):
        heads = drawn(4, 4, seed=seed).attention[0]
        return View(attention=(Heads(heads.query, heads.key[:, :2], heads.value[:, :2]),))

    student, teacher = grouped(0), grouped(1)
    expected = naive(student.attention[0], teacher.attention[0], 4, torch.ones_like(MASK).tolist())
    assert minilm(student, teacher).item() == pytest.approx(expected, rel=1e-4)


def test_gradients_in_float64():
    student, teacher = drawn(2, 2, dtype=torch.float64), drawn(2, 4, seed=1, dtype=torch.float64)
    x = tuple(t.requires_grad_() for t in parts(student.attention[0]))
    assert torch.autograd.gradcheck(lambda *t: minilm(View(attention=(Heads(*t),)), teacher, MASK), x)


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient():
    student = drawn(2, 4, grad=True, dtype=torch.float64)
    value = minilm(student, student, MASK)
    value.backward()
    assert abs(value.item()) < 1e-12
    assert all(float(x.grad.abs().max()) < 1e-12 for x in parts(student.attention[0]))


def test_each_of_queries_keys_and_values_counts():
    own, goal = drawn(2, 4).attention[0], drawn(2, 4, seed=1).attention[0]
    whole = minilm(View(attention=(own,)), View(attention=(goal,)))
    mixes = [
        Heads(goal.query, own.key, own.value),
        Heads(own.query, goal.key, own.value),
        Heads(own.query, own.key, goal.value),
    ]
    left = [minilm(View(attention=(mix,)), View(attention=(goal,))) for mix in mixes]
    assert all(value < whole - 0.01 for value in left)
    assert sum(left).item() == pytest.approx(2 * whole.item(), rel=1e-5)  # each term is in two of them


def test_padding_changes_nothing():
    student, teacher = drawn(2, 4, grad=True), drawn(3, 4, seed=1)
    value = minilm(student, teacher, MASK)
    value.backward()
    gone = ~MASK[:, None, :, None]
    for x in parts(student.attention[0]):
        assert not bool(x.grad.masked_select(gone).any())
        assert bool(x.grad.masked_select(~gone).all())
    for filling in (50.0, torch.nan):
        spoilt = [
            View(attention=(Heads(*(x.masked_fill(gone, filling) for x in parts(v.attention[0]))),))
            for v in (student, teacher)
        ]
        assert minilm(*spoilt, MASK).item() == value.item()
    assert minilm(student, teacher).item() != value.item()


def test_more_padding_is_no_other_batch():
    student, teacher = drawn(2, 4), drawn(3, 4, seed=1)
    longer = [
        View(attention=(Heads(*(torch.nn.functional.pad(x, (0, 0, 0, 3)) for x in parts(v.attention[0]))),))
        for v in (student, teacher)
    ]
    mask = torch.nn.functional.pad(MASK, (0, 3))
    assert minilm(*longer, mask).item() == pytest.approx(minilm(student, teacher, MASK).item(), rel=1e-5)


def test_examples_of_padding_only_make_no_nan():
    student, teacher = drawn(2, 4, grad=True), drawn(2, 4, seed=1)
    for mask in (torch.zeros_like(MASK), MASK & torch.tensor([[True], [False]])):
        value = minilm(student, teacher, mask)
        value.backward()
        assert bool(value.isfinite())
        assert bool(student.attention[0].query.grad.isfinite().all())
    assert minilm(student, teacher, torch.zeros_like(MASK)).item() == 0


def test_the_teacher_gets_no_gradient_and_nothing_is_learnt():
    student, teacher = drawn(2, 4, grad=True), drawn(2, 4, seed=1, grad=True)
    minilm(student, teacher).backward()
    assert all(x.grad is None for x in parts(teacher.attention[0]))
    assert not list(Relations().parameters())


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_the_number_of_relation_heads_is_checked(number):
    with pytest.raises(SettingError, match="relation_heads is an integer above 0"):
        Relations(number)


@pytest.mark.parametrize(
    ("student", "teacher", "told"),
    [
        (
            drawn(2, 4),
            drawn(3, 4),
            r"relation_heads=3 of minilm must divide .*\[8, 12\]: take a divisor of 4",
        ),
        (drawn(3, 4), drawn(3, 4, tokens=5), "over 4 tokens in the student and 5 in the teacher"),
        (drawn(3, 4), drawn(3, 4, layers=2), "the student shows 1, the teacher 2"),
        (View(), View(), "the student shows 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(student, teacher, told):
    with pytest.raises(ModelError, match=told):
        Relations(3).prepare(student, teacher)


def test_the_mask_must_be_of_the_tokens():
    with pytest.raises(ModelError, match=r"mask of padding is \(2, 4\), and attention is over 5 tokens"):
        minilm(drawn(2, 4, tokens=5), drawn(2, 4, tokens=5), MASK)
