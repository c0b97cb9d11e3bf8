"""Decoupled knowledge distillation (Zhao et al. 2022, https://arxiv.org/abs/2203.08679).

With p = softmax(z / T) of the student, q = softmax(t / T) of the teacher, y the target, b(p) = (p_y, 1 - p_y)
and o(p) = softmax of the classes but y::

    L = T^2 * mean over labelled examples of (alpha * KL(b(q) || b(p)) + beta * KL(o(q) || o(p)))

Soft targets ("kd") are alpha = 1 and beta = 1 - q_y: a teacher that is sure hides what it knows of the other
classes, and here it does not. With n labelled examples the gradient is::

    dL/dz_y = T alpha (p_y - q_y) / n
    dL/dz_k = T (alpha (q_y - p_y) o(p)_k + beta (o(p)_k - o(q)_k)) / n

Examples without a label (target -100) are left out of the sum and of the mean; a batch without any label has
a loss of 0. The paper's weight of the loss rises over the first 20 epochs on CIFAR-100, as beta = 8 is large.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from featherweight.core.batches import UNLABELLED
from featherweight.distillation.losses._base import DistillationLoss, Lesson, View, losses
from featherweight.distillation.losses._logits import (
    check_temperature,
    check_weights,
    class_logits,
    divergences,
)
from featherweight.errors import DataError, ModelError


@losses.register("dkd")
class DecoupledTargets(DistillationLoss):
    """Divergences of the target against the rest, and within the rest; logits (n, classes)."""

    needs_logits = True
    needs_targets = True
    takes_temperature = True

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0) -> None:
        """Take the weights of the target's part (alpha) and of the others' (beta), and the temperature.

        A temperature that the Distiller was given comes first. Raises SettingError.
        """
        super().__init__()
        self.alpha, self.beta = check_weights(alpha=alpha, beta=beta)
        self.temperature = check_temperature(temperature)

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        temperature = lesson.temperature or self.temperature
        own, goal = class_logits(student, teacher)
        labelled, targets = _labels(lesson.targets, own)
        own_target, own_others = _decoupled(own / temperature, targets)
        target, others = _decoupled(goal / temperature, targets)
        each = self.alpha * divergences(own_target, target) + self.beta * divergences(own_others, others)
        return temperature**2 * each.where(labelled, 0).sum() / labelled.sum().clamp_min(1)


def _labels(targets: Tensor | None, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return which examples have a label, and the labels (n, 1), 0 for those without."""
    if targets is None:
        raise DataError("dkd needs labels: give batches (inputs, targets), or take the loss 'kd'.")
    if targets.shape != logits.shape[:1] or targets.is_floating_point():
        raise ModelError(
            f"dkd needs one class number per example, {tuple(logits.shape[:1])}, got targets "
            f"{tuple(targets.shape)} of {targets.dtype}."
        )
    labelled = targets != UNLABELLED
    return labelled, targets.long().where(labelled, 0).unsqueeze(1)


def _decoupled(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of target or not (n, 2), and of the others (n, classes - 1)."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = logits.gather(1, columns + (columns >= targets))
    target = torch.cat([logits.gather(1, targets), others.logsumexp(1, keepdim=True)], 1)
    return F.log_softmax(target, 1), F.log_softmax(others, 1)
