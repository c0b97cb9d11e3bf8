"""Token-level soft targets against loops, their gradient, what counts, and how much memory a chunk takes."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from featherweight.distillation import Distiller
from featherweight.distillation.losses import Lesson, View, losses
from featherweight.distillation.losses import token as module
from featherweight.errors import ModelError, SettingError

N, TOKENS, WORDS = 3, 5, 7
LABELS = torch.tensor([[1, 2, 3, 4, 5], [-100, -100, 6, 1, -100], [2, -100, 3, 3, 3]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [1, 1, 1, 0, 0]]) != 0


def logits(seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    own, goal = 3 * torch.randn(2, N, TOKENS, WORDS, generator=draw, dtype=torch.float64)
    return own.to(dtype).requires_grad_(), goal.to(dtype)


def token(own, goal, lesson=None, **settings):
    return losses["token"](**settings)(View(own), View(goal), lesson or Lesson())


def softmax(row, temperature):
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def naive(own, goal, temperature, counts):
    """Loop over the positions; ``counts(i, j)`` says whether position j of text i counts."""
    found = []
    for i in range(N):
        for j in range(TOKENS):
            if counts(i, j):
                p, q = (softmax(each[i, j].tolist(), temperature) for each in (own, goal))
                found.append(sum(b * math.log(b / a) for a, b in zip(p, q, strict=True)))
    return temperature**2 * sum(found) / len(found)


def next_is_labelled(i, j):
    return j + 1 < TOKENS and LABELS[i, j + 1] != -100


def next_is_seen(i, j):
    return next_is_labelled(i, j) and bool(MASK[i, j] and MASK[i, j + 1])


RULES = {
    "everything": (Lesson(), True, lambda i, j: True),
    "mask": (Lesson(mask=MASK), True, lambda i, j: bool(MASK[i, j])),
    "labels": (Lesson(LABELS), True, next_is_labelled),
    "labels and mask": (Lesson(LABELS, MASK), True, next_is_seen),
    "not causal": (Lesson(LABELS, MASK), False, lambda i, j: bool(MASK[i, j] and LABELS[i, j] != -100)),
}


@pytest.mark.parametrize("chunk", [1, 3 * WORDS, 1 << 20])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("rule", RULES)
def test_equals_the_loop(rule, temperature, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_VALUES", chunk)
    own, goal = logits()
    lesson, causal, counts = RULES[rule]
    found = token(own, goal, lesson, temperature=temperature, causal=causal)
    assert found.item() == pytest.approx(naive(own, goal, temperature, counts), rel=1e-6)


@pytest.mark.parametrize("chunk", [2 * WORDS, 1 << 20])
def test_gradient_is_the_difference_where_it_counts_and_zero_elsewhere(chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_VALUES", chunk)
    own, goal = logits()
    (found,) = torch.autograd.grad(3 * token(own, goal, Lesson(LABELS, MASK), temperature=2.0), own)
    where = torch.tensor([[next_is_seen(i, j) for j in range(TOKENS)] for i in range(N)])
    difference = (own / 2).softmax(2) - (goal / 2).softmax(2)
    expected = 3 * 2 * difference * where.unsqueeze(2) / where.sum()
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(lambda z: token(z, goal, Lesson(LABELS, MASK)), (own,))


def test_counts_the_positions_whose_own_logits_tell_a_labelled_token():
    """Hugging Face's loss of a causal model at T = 1 with a sure teacher is the same number."""
    own, _ = logits()
    labels = LABELS.where(LABELS != -100, 0)
    sure = torch.full((N, TOKENS, WORDS), -1e4, dtype=torch.float64)
    sure[:, :-1].scatter_(2, labels[:, 1:, None], 1e4)
    expected = torch.nn.functional.cross_entropy(own[:, :-1].flatten(0, 1), LABELS[:, 1:].flatten())
    torch.testing.assert_close(token(own, sure, Lesson(LABELS), temperature=1.0), expected)


def test_the_distillers_temperature_comes_first():
    own, goal = logits()
    told = token(own, goal, Lesson(temperature=3.0), temperature=1.0)
    assert torch.equal(told, token(own, goal, temperature=3.0))


def test_a_step_brings_the_student_nearer_and_the_teacher_matters():
    own, goal = logits()
    loss = token(own, goal)
    (gradient,) = torch.autograd.grad(loss, own)
    assert token(own - 20 * gradient, goal) < 0.8 * loss
    assert token(goal.clone(), goal).item() == pytest.approx(0, abs=1e-9)
    (blank,) = torch.autograd.grad(token(own, torch.zeros_like(goal)), own)
    assert (gradient - blank).norm() > 0.1 * gradient.norm()


def test_a_batch_in_which_nothing_counts_costs_nothing():
    own, goal = logits()
    loss = token(own, goal, Lesson(torch.full((N, TOKENS), -100)))
    loss.backward()
    assert loss == 0
    assert not own.grad.any()


def test_tokens_that_both_forbid_are_no_loss():
    own, goal = logits()
    with torch.no_grad():
        own[..., 2], goal[..., 2] = -math.inf, -math.inf
    kept = [i for i in range(WORDS) if i != 2]
    loss = token(own, goal)
    torch.testing.assert_close(loss, token(own[..., kept], goal[..., kept]))
    (found,) = torch.autograd.grad(loss, own)
    assert found.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_is_computed_in_float32_and_the_gradient_has_the_type_of_the_logits(dtype):
    own, goal = logits(dtype=dtype)
    loss = token(own, goal)
    loss.backward()
    assert loss.dtype == torch.float32
    assert own.grad.dtype == dtype
    exact = token(own.detach().double(), goal.double())
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


class Largest(TorchDispatchMode):
    """Notes the most elements of a tensor that an operation made; views of ``given`` are not made."""

    def __init__(self, *given):
        super().__init__()
        self.most, self.given = 0, {tensor.data_ptr() for tensor in given}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            is_new = leaf.is_floating_point() and leaf.untyped_storage().data_ptr() not in self.given
            self.most = max(self.most, leaf.numel() * is_new)
        return made


def test_only_a_chunk_is_converted_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_VALUES", 2 * WORDS)
    own, goal = logits(dtype=torch.bfloat16)
    with Largest(own, goal) as forward:
        token(own, goal)
    assert 0 < forward.most <= 2 * WORDS


@pytest.mark.parametrize("temperature", [0, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(SettingError, match="temperature"):
        losses["token"](temperature)


def test_another_vocabulary_is_refused_with_both_sizes():
    own, goal = logits()
    with pytest.raises(ModelError, match="have 6 and 7 tokens"):
        token(own[..., :-1], goal)


class Words:
    def __init__(self, *words):
        self.words = words

    def get_vocab(self):
        return {word: number for number, word in enumerate(self.words)}


def test_tokenizers_that_differ_are_refused_with_sizes_and_a_token():
    same = Words("a", "b"), Words("a", "b")
    assert losses["token"](tokenizers=same) is not None
    with pytest.raises(ModelError, match=r"2 and 3 tokens, and 'c' is number None .* and 2"):
        losses["token"](tokenizers=(Words("a", "b"), Words("a", "b", "c")))
    with pytest.raises(ModelError, match=r"2 and 2 tokens, and 'a' is number 0 .* and 1"):
        losses["token"](tokenizers=(Words("a", "b"), Words("b", "a")))
    with pytest.raises(ModelError, match=r"have 6 and 7 tokens\. The tokenizers have 2 tokens"):
        token(logits()[0][..., :-1], logits()[1], tokenizers=same)


@pytest.mark.parametrize(
    ("own", "goal", "lesson", "said"),
    [
        ((2, 7), (2, 7), Lesson(), r"\(n, tokens, vocabulary\), got \(2, 7\) from the student"),
        ((2, 3, 7), (2, 7), Lesson(), r"got \(2, 7\) from the teacher"),
        ((2, 3, 7), (2, 4, 7), Lesson(), "must see the same tokens"),
        ((2, 3, 7), (2, 3, 7), Lesson(torch.zeros(2)), r"labels .* \(2, 3\); got \(2,\)"),
        ((2, 3, 7), (2, 3, 7), Lesson(mask=torch.ones(2, 4)), r"mask .* \(2, 3\); got \(2, 4\)"),
    ],
)
def test_other_shapes_are_refused(own, goal, lesson, said):
    with pytest.raises(ModelError, match=said):
        token(torch.zeros(own), torch.zeros(goal), lesson)


def test_missing_logits_are_refused():
    with pytest.raises(ModelError, match="student's output has no logits"):
        losses["token"]()(View(), View(torch.zeros(2, 3, 7)), Lesson())


@pytest.mark.parametrize("name", ["token", "sequence"])
def test_a_distiller_gives_it_logits_labels_and_mask(name):
    torch.manual_seed(0)
    teacher, student = (nn.Sequential(nn.Embedding(WORDS, 4), nn.Linear(4, WORDS)) for _ in range(2))

    class Masked(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, input_ids, attention_mask, labels=None):
            return {"logits": self.inner(input_ids)}

    ids = LABELS.where(LABELS != -100, 0)
    batch = {"input_ids": ids, "attention_mask": MASK.long(), "labels": LABELS}
    with Distiller(Masked(teacher), Masked(student), batch, loss=name, alpha=1.0, precision="fp32") as loss:
        found = loss(batch)
    expected = losses[name]()(View(student(ids)), View(teacher(ids)), Lesson(LABELS, MASK))
    torch.testing.assert_close(found, expected)
