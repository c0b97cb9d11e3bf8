"""Cross-entropy on decoded sequences against loops and a gradient by hand."""

import math

import pytest
import torch

from featherweight.distillation.losses import Lesson, View, losses
from featherweight.errors import DataError, ModelError

N, TOKENS, WORDS = 2, 4, 5
LABELS = torch.tensor([[-100, -100, 3, 1], [-100, 4, 2, -100]])
MASK = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0]]) != 0


def logits(dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    own = 2 * torch.randn(N, TOKENS, WORDS, generator=draw, dtype=torch.float64)
    return own.to(dtype).requires_grad_()


def sequence(own, lesson, **settings):
    return losses["sequence"](**settings)(View(own), View(), lesson)


def told(causal, mask):
    """Return (text, position, token) of all that is to be told."""
    for i in range(N):
        for j in range(TOKENS):
            at = j + 1 if causal else j
            seen = not mask or (at < TOKENS and MASK[i, j] and MASK[i, at])
            if at < TOKENS and seen and LABELS[i, at] != -100:
                yield i, j, int(LABELS[i, at])


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("causal", [True, False])
def test_equals_the_loop(causal, mask):
    own = logits()
    found = sequence(own, Lesson(LABELS, MASK if mask else None), causal=causal)
    terms = [
        math.log(sum(math.exp(value) for value in own[i, j].tolist())) - own[i, j, label].item()
        for i, j, label in told(causal, mask)
    ]
    assert found.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_gradient_is_probability_less_one_at_the_label():
    own = logits()
    (found,) = torch.autograd.grad(sequence(own, Lesson(LABELS)), own)
    expected, places = torch.zeros_like(own), list(told(True, False))
    for i, j, label in places:
        expected[i, j] = own[i, j].softmax(0)
        expected[i, j, label] -= 1
    torch.testing.assert_close(found, expected / len(places))


def test_the_sequence_matters():
    own = logits()
    other = torch.where(LABELS == 3, 0, LABELS)
    assert sequence(own, Lesson(LABELS)) != sequence(own, Lesson(other))


def test_no_label_costs_nothing():
    own = logits()
    loss = sequence(own, Lesson(torch.full((N, TOKENS), -100)))
    loss.backward()
    assert loss == 0
    assert not own.grad.any()


def test_bfloat16_is_computed_in_float32():
    own = logits(torch.bfloat16)
    loss = sequence(own, Lesson(LABELS))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(sequence(own.double(), Lesson(LABELS)).item(), rel=1e-5)


def test_batches_without_labels_are_refused():
    with pytest.raises(DataError, match="sequence_targets"):
        sequence(logits(), Lesson())


@pytest.mark.parametrize("own", [torch.zeros(2, 5), None])
def test_other_logits_are_refused(own):
    with pytest.raises(ModelError, match="logits"):
        sequence(own, Lesson(LABELS))
