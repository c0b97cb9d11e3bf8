"""Attention scores and hidden states (TinyBERT: Jiao et al. 2020, https://arxiv.org/abs/1909.10351).

With S = Q K^T / sqrt(d), the scores before the softmax, hidden states f of the student and g of the teacher,
and a learnt projection W::

    L = mean over layers of mean over heads and pairs of tokens of (S_student - S_teacher)^2
      + mean over blocks of mean over tokens and channels of (f W + b - g)^2

Only tokens that are not padding count, of pairs both. The paper sums over layers; its code counts padding as
zeros. W is one for all blocks of equal widths, and the identity where student and teacher are equally wide.
Heads are compared one to one, so that there must be equally many. The paper's term for the embeddings is had
by tapping them as one more pair of features, and its last stage by "kd + tinybert". Scores are of the tapped
queries and keys: whatever a network does to them later (rotary positions, a bias, a causal mask) is not in
them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from featherweight.distillation.losses._base import Heads, Lesson, View, losses
from featherweight.distillation.losses._features import ProjectedLoss, mean, unpadded
from featherweight.distillation.losses._heads import attention_pairs, without_padding
from featherweight.errors import ModelError


@losses.register("tinybert")
class TinyBert(ProjectedLoss):
    """Mean squared error of attention scores, plus that of hidden states after one projection."""

    features = "blocks"
    attention = "all"

    def __init__(self) -> None:
        """Make the loss; the projection is learnt where widths differ, and only there."""
        super().__init__(identity=True, shared=True)

    def prepare(self, student: View, teacher: View) -> None:
        """Make the projection; raises ModelError where heads or tokens do not fit each other."""
        for own, goal in attention_pairs(student, teacher):
            _check_heads(own, goal)
        super().prepare(student, teacher)

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        mask = lesson.mask
        hidden = [
            mean((unpadded(own, mask) - unpadded(goal, mask)).square())
            for own, goal in self.projected(student, teacher, mask)
        ]
        attention = [_between(own, goal, mask) for own, goal in attention_pairs(student, teacher)]
        return torch.stack(attention).mean() + torch.stack(hidden).mean()


def scores(heads: Heads) -> Tensor:
    """Return Q K^T / sqrt(width of a head), (n, heads, tokens, tokens); shared keys are repeated."""
    key = heads.key.repeat_interleave(heads.query.shape[1] // heads.key.shape[1], 1)
    return heads.query @ key.mT / math.sqrt(key.shape[3])


def _between(student: Heads, teacher: Heads, mask: Tensor | None) -> Tensor:
    _check_heads(student, teacher)
    own, goal = scores(without_padding(student, mask)), scores(without_padding(teacher, mask))
    errors = (own - goal).square().mean(1)  # (n, tokens, tokens)
    return mean(errors if mask is None else errors[mask[:, :, None] & mask[:, None, :]])


def _check_heads(student: Heads, teacher: Heads) -> None:
    own, goal = student.query.shape[1], teacher.query.shape[1]
    if own != goal:
        raise ModelError(
            f"tinybert compares heads one to one, and the student has {own}, the teacher {goal}. Give the "
            f"student {goal} heads, or take the loss minilm, which needs no equal numbers."
        )
