"""DIST: relations instead of values (Huang et al. 2022, https://arxiv.org/abs/2205.10536).

With P = softmax(z / tau) of the student and Q = softmax(t / tau) of the teacher, (n, classes), and r the
correlation of Pearson::

    inter = 1 - mean over examples of r(row of P, row of Q)
    intra = 1 - mean over classes of r(column of P, column of Q)
    L = tau^2 * (beta * inter + gamma * intra)

    r(a, b) = (a - mean a) . (b - mean b) / (|a - mean a| |b - mean b| + 1e-8)

A teacher far stronger than its student is met in the order and the relative size of its outputs, not in their
values. A constant row or column has no relation: its r is 0, without gradient, where the formula's would be
about 1e8; hence a student whose last layer is all 0 learns nothing from this loss alone. One example has no
relation to others: of a batch of one, only the first part is left.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm

from featherweight.distillation.losses._base import DistillationLoss, Lesson, View, losses
from featherweight.distillation.losses._logits import check_temperature, check_weights, class_logits


@losses.register("dist")
class Correlation(DistillationLoss):
    """Correlations of the classes' probabilities, within examples and within classes; logits (n, classes)."""

    needs_logits = True
    takes_temperature = True

    def __init__(self, tau: float = 1.0, beta: float = 1.0, gamma: float = 1.0) -> None:
        """Take the temperature, the weight within examples (beta) and that within classes (gamma).

        A temperature that the Distiller was given comes first. The paper takes tau = 4 on CIFAR-100. Raises
        SettingError.
        """
        super().__init__()
        self.tau = check_temperature(tau)
        self.beta, self.gamma = check_weights(beta=beta, gamma=gamma)

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        tau = lesson.temperature or self.tau
        own, goal = (logits.div(tau).softmax(1) for logits in class_logits(student, teacher))
        total = self.beta * (1 - _pearson(own, goal).mean())
        if len(own) > 1:
            total = total + self.gamma * (1 - _pearson(own.T, goal.T).mean())
        return tau**2 * total


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlation of each row of ``a`` with that of ``b``."""
    a, b = _centred(a), _centred(b)
    return (a * b).sum(1) / (vector_norm(a, dim=1) * vector_norm(b, dim=1) + 1e-8)


def _centred(rows: Tensor) -> Tensor:
    """Return ``rows`` less their means; those that are constant up to rounding as zeros without gradient."""
    off = rows - rows.mean(1, keepdim=True)
    rounding = 8 * torch.finfo(rows.dtype).eps * vector_norm(rows, dim=1, keepdim=True)
    return off.masked_fill(vector_norm(off, dim=1, keepdim=True) <= rounding, 0)
