"""Squared error of the logits (Ba, Caruana 2014, https://arxiv.org/abs/1312.6184; Kim et al. 2021,
https://arxiv.org/abs/2105.08919).

With logits z of the student and t of the teacher::

    L = mean over examples of sum over classes of (z - t)^2

The gradient is dL/dz = 2 (z - t) / n. The squares are summed over the classes, as in both papers, and not
divided by their number as ``torch.nn.MSELoss`` does. For logits of mean 0, soft targets of a high temperature
("kd") tend to L / (2 classes).
"""

from __future__ import annotations

from torch import Tensor

from featherweight.distillation.losses._base import DistillationLoss, Lesson, View, losses
from featherweight.distillation.losses._logits import class_logits


@losses.register("mse")
class SquaredLogits(DistillationLoss):
    """Squared distance of the logits (n, classes)."""

    needs_logits = True

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        own, goal = class_logits(student, teacher, least=1)
        return (own - goal).square().sum(1).mean()
