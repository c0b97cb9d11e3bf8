"""Directions of hidden states (DistilBERT: Sanh, Debut, Chaumond, Wolf 2019, https://arxiv.org/abs/1910.01108).

With hidden states f of the student, after a projector r where widths differ, and g of the teacher, one vector
a token (of a map: a position; of vectors: an example)::

    L = mean over pairs of mean over tokens of (1 - cos(r(f), g))

The mean over tokens is over all of the batch that are not padding. DistilBERT compares the last hidden states
only: a single pair. A vector of zeros has no direction: its cosine is 0, without gradient, where that of
``torch.nn.functional.cosine_similarity`` would be about 1e8. The shorter a vector, the steeper the loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from featherweight.distillation.losses._base import Lesson, View, losses
from featherweight.distillation.losses._features import ProjectedLoss, mean, unpadded
from featherweight.distillation.losses._relations import unit


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
    own, goal = (unit(x.movedim(1, -1) if x.ndim == 4 else x) for x in (own, goal))
    return mean(1 - (own * goal).sum(-1))
