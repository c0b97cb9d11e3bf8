"""Relations of self-attention (MiniLMv2: Wang, Bao, Huang, Dong, Wei 2021, https://arxiv.org/abs/2012.15828).

The heads of queries, keys and values are put side by side and cut into A relation heads of width d. A is
the same in student and teacher, whose own heads and widths may differ. For X in Q, K, V::

    R(X) = softmax(X X^T / sqrt(d))                      (n, A, tokens, tokens)

    L = sum over Q, K, V of mean over relation heads and tokens of KL(R(X_teacher) || R(X_student))

KL is a sum over the tokens that a token looks at. Padding is looked at by none, and
does not look: the mean is over all tokens of the batch that are not padding. Over several layers it is the
mean; the papers take one, the last (or, of a large teacher, one of the upper middle). MiniLM (Wang et al.
2020, https://arxiv.org/abs/2002.10957) has V-V, and Q-K in the place of Q-Q and K-K.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from featherweight.distillation.losses._base import DistillationLoss, Heads, Lesson, View, losses
from featherweight.distillation.losses._features import mean
from featherweight.distillation.losses._heads import attention_pairs, without_padding
from featherweight.errors import ModelError, SettingError


@losses.register("minilm")
class Relations(DistillationLoss):
    """Kullback-Leibler divergence of the relations among queries, keys and values."""

    attention = "last"

    def __init__(self, relation_heads: int | None = None) -> None:
        """Take the number of relation heads.

        Args:
            relation_heads: above 0; more are finer (the paper: 48 for a teacher of 12 heads). None: the
                largest number, up to the teacher's heads, that divides all widths.

        Raises:
            SettingError: it is not an integer above 0.
        """
        super().__init__()
        if relation_heads is not None and (type(relation_heads) is not int or relation_heads < 1):
            raise SettingError(f"relation_heads is an integer above 0, got {relation_heads!r}.")
        self.relation_heads = relation_heads

    def prepare(self, student: View, teacher: View) -> None:
        """Check the shapes; raises ModelError where tokens differ or the relation heads divide no width."""
        for own, goal in attention_pairs(student, teacher):
            self._number(own, goal)

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        pairs = attention_pairs(student, teacher)
        return torch.stack([self._layer(own, goal, lesson.mask) for own, goal in pairs]).mean()

    def _layer(self, student: Heads, teacher: Heads, mask: Tensor | None) -> Tensor:
        number = self._number(student, teacher)
        own, goal = without_padding(student, mask), without_padding(teacher, mask)
        parts = ((own.query, goal.query), (own.key, goal.key), (own.value, goal.value))
        return torch.stack([divergence(a, b, number, mask) for a, b in parts]).sum()

    def _number(self, student: Heads, teacher: Heads) -> int:
        widths = [x.shape[1] * x.shape[3] for h in (student, teacher) for x in (h.query, h.key, h.value)]
        common = math.gcd(*widths)
        if self.relation_heads is None:
            return next(a for a in range(teacher.query.shape[1], 0, -1) if common % a == 0)
        if common % self.relation_heads:
            raise ModelError(
                f"relation_heads={self.relation_heads} of minilm must divide the widths of all queries, keys "
                f"and values, {sorted(set(widths))}: take a divisor of {common}."
            )
        return self.relation_heads


def divergence(student: Tensor, teacher: Tensor, number: int, mask: Tensor | None) -> Tensor:
    """Return the mean KL of the relations of two tensors (n, heads, tokens, width of a head)."""
    log_p, log_q = log_relations(student, number, mask), log_relations(teacher, number, mask)
    looks = F.kl_div(log_p, log_q, log_target=True, reduction="none").sum(3).mean(1)  # (n, tokens)
    return mean(looks if mask is None else looks[mask])


def log_relations(x: Tensor, number: int, mask: Tensor | None) -> Tensor:
    """Return log softmax(x x^T / sqrt(width)) over ``number`` heads, (n, number, tokens, tokens)."""
    n, _, tokens, _ = x.shape
    cut = x.transpose(1, 2).reshape(n, tokens, number, -1).transpose(1, 2)
    scores = cut @ cut.mT / math.sqrt(cut.shape[3])
    if mask is not None:
        # The least number, not -inf, of which a softmax over nothing but padding makes NaN.
        scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
    return F.log_softmax(scores, 3)
