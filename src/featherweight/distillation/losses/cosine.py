"""Directions of hidden states (DistilBERT: Sanh, Debut, Chaumond, Wolf 2019, https://arxiv.org/abs/1910.01108).

With hidden states f of the student, after a projector r where widths differ, and g of the teacher, one vector
a token (of a map: a position; of vectors: an example)::

    L = mean over pairs of mean over tokens of (1 - cos(r(f), g))

The mean over tokens is over all of the batch that are not padding. DistilBERT compares the last hidden states
only: a single pair.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from featherweight.distillation.losses._base import Lesson, View, losses
from featherweight.distillation.losses._features import ProjectedLoss, mean, unpadded


@losses.register("cosine")
class CosineDistance(ProjectedLoss):
    """One minus the cosine of hidden states, over tokens that are not padding."""

    features = "blocks"

    def __init__(self) -> None:
        """Make the loss; a projector is learnt where widths differ, and only there."""
        super().__init__(identity=True)

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        pairs = self.projected(student, teacher, lesson.mask)
        kept = [(unpadded(own, lesson.mask), unpadded(goal, lesson.mask)) for own, goal in pairs]
        return torch.stack([_distance(own, goal) for own, goal in kept]).mean()


def _distance(own: Tensor, goal: Tensor) -> Tensor:
    return mean(1 - F.cosine_similarity(own, goal, dim=1 if own.ndim == 4 else -1))
