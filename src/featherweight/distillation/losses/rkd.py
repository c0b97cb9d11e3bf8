"""Relational knowledge distillation (Park et al. 2019, https://arxiv.org/abs/1904.05068).

With embeddings e of the student and f of the teacher, one per example, and l the Huber loss of delta 1::

    d(i, j) = |e_i - e_j| / mean of the distances above 0
    a(i, j, k) = cosine of the angle at e_j between e_i and e_k; 0 where two of the three are equal
    L = mean over pairs of taps of   distance * mean over i, j of l(d of the student, d of the teacher)
                                  + angle * mean over i, j, k of l(a of the student, a of the teacher)

The means are over all n^2 pairs and n^3 triples, of which those of an example with itself add 0. The paper's
weights are in the ratio 1:2. Only relations are compared, so widths may differ.

Memory: n^3 angles are computed for a few vertices j at a time, so that no tensor is above 64 MiB (or n^2
numbers); where that takes several rounds, each is computed again in the backward pass instead of being kept.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from featherweight.distillation.losses._base import DistillationLoss, Lesson, View, losses
from featherweight.distillation.losses._logits import check_weights
from featherweight.distillation.losses._relations import both_features, full_precision, pooled, unit

NUMBERS = 2**24  # in one tensor of angles: 64 MiB of float32


@losses.register("rkd")
class Relational(DistillationLoss):
    """Distances and angles between examples; vectors (n, width), or tokens and maps, which are averaged."""

    features = "embedding"

    def __init__(self, distance: float = 25.0, angle: float = 50.0) -> None:
        """Take the weights of the two parts; one of them may be 0. Raises SettingError."""
        super().__init__()
        self.distance, self.angle = check_weights(distance=distance, angle=angle)

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        mask = lesson.mask
        pairs = [(pooled(a, mask), pooled(b, mask)) for a, b in both_features(student, teacher)]
        return torch.stack([self._of_one_tap(own, goal) for own, goal in pairs]).mean()

    def _of_one_tap(self, own: Tensor, goal: Tensor) -> Tensor:
        total = own.new_zeros(())
        if self.distance:
            total = total + self.distance * F.smooth_l1_loss(_distances(own), _distances(goal))
        if self.angle:
            total = total + self.angle * _angle_part(own, goal)
        return total


def _distances(vectors: Tensor) -> Tensor:
    """Return (n, n) distances over their mean."""
    # not by products: those leave nothing but rounding of the distance of two that are close
    found = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    mean = found.sum() / (found > 0).sum().clamp_min(1)
    return found / mean.masked_fill(mean == 0, 1)


def _angle_part(own: Tensor, goal: Tensor) -> Tensor:
    n = len(own)
    at_once = max(1, NUMBERS // (n * max(n, own.shape[1], goal.shape[1])))
    rounds = torch.arange(n, device=own.device).split(at_once)
    if len(rounds) == 1:
        return _angle_sum(own, goal, rounds[0]) / n**3
    parts = [checkpoint(_angle_sum, own, goal, some, use_reentrant=False) for some in rounds]
    return torch.stack(parts).sum() / n**3


def _angle_sum(own: Tensor, goal: Tensor, vertices: Tensor) -> Tensor:
    return F.smooth_l1_loss(_cosines(own, vertices), _cosines(goal, vertices), reduction="sum")


def _cosines(vectors: Tensor, vertices: Tensor) -> Tensor:
    """Return (vertices, n, n): the cosine of the angle at each vertex between every two examples."""
    with full_precision(vectors):
        rays = unit(vectors - vectors[vertices].unsqueeze(1))
        return rays @ rays.mT
