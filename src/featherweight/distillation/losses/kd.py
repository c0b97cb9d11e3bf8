"""Soft targets (Hinton, Vinyals, Dean 2015, https://arxiv.org/abs/1503.02531).

With logits z of the student and t of the teacher, and p(x) = softmax(x / T)::

    L = T^2 * mean over examples of KL(p(t) || p(z))

T^2 keeps the size of the gradient, dL/dz = T (p(z) - p(t)) / n, about the same for all T. The mean is over
the examples, not over the classes ("batchmean").
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from featherweight.distillation.losses._base import DistillationLoss, Lesson, View, losses
from featherweight.distillation.losses._logits import check_temperature, class_logits, divergences


@losses.register("kd")
class SoftTargets(DistillationLoss):
    """Kullback-Leibler divergence of the softened classes; logits (n, classes)."""

    needs_logits = True
    takes_temperature = True

    def __init__(self, temperature: float = 4.0) -> None:
        """Take the temperature, above 0; that of the Distiller, where it was given one, comes first."""
        super().__init__()
        self.temperature = check_temperature(temperature)

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        temperature = lesson.temperature or self.temperature
        own, goal = class_logits(student, teacher)
        log_p = F.log_softmax(own / temperature, 1)
        log_q = F.log_softmax(goal / temperature, 1)
        return temperature**2 * divergences(log_p, log_q).mean()
