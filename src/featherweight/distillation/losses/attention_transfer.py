"""Attention transfer (Zagoruyko, Komodakis 2017, https://arxiv.org/abs/1612.03928).

Of a map A (n, channels, height, width), the energy at each position, as a vector of unit length::

    Q(A) = flat(mean over channels of A^2),    q(A) = Q(A) / ||Q(A)||

    L = mean over pairs of mean over examples of ||q(A_student) - q(A_teacher)||^2

which is the mean of 2 - 2 cos(Q_student, Q_teacher), in 0..2. Nothing is learnt, and numbers of channels may
differ. The authors sum over pairs, and their code takes the mean over the h*w positions too: its weight of
1000 is 1000 / (h w) here, about 1 to 16 for maps of 32 x 32 to 8 x 8.

Where resolutions differ, the energies of both are brought to the smaller height and width by adaptive average
pooling, before they are divided by their length. Tokens that are a square grid, s*s or 1 + s*s, are maps; the
class token is left out, and tokens of padding have no energy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from featherweight.distillation.losses._base import DistillationLoss, Lesson, View, losses
from featherweight.distillation.losses._features import feature_pairs
from featherweight.distillation.projectors import as_map, in_float32, resized


@losses.register("at")
class AttentionTransfer(DistillationLoss):
    """Squared distance of the normalised energies of maps."""

    features = "stages"

    def prepare(self, student: View, teacher: View) -> None:
        """Check that all features are maps; raises ModelError."""
        for pair in feature_pairs(student, teacher):
            for feature in pair:
                as_map(feature)

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        pairs = [
            (energy(own, lesson.mask), energy(goal, lesson.mask))
            for own, goal in feature_pairs(student, teacher)
        ]
        return torch.stack([_distance(own, goal) for own, goal in pairs]).mean()


def energy(feature: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean of the squared channels of a map or of a grid of tokens, (n, 1, height, width)."""
    x = in_float32(feature)
    if mask is not None and mask.shape == x.shape[:2] and x.ndim == 3:
        x = x.masked_fill(~mask[:, :, None], 0)
    return as_map(x).square().mean(1, keepdim=True)


def _distance(own: Tensor, goal: Tensor) -> Tensor:
    size = (min(own.shape[2], goal.shape[2]), min(own.shape[3], goal.shape[3]))
    flat = [F.normalize(resized(image, size).flatten(1)) for image in (own, goal)]
    return (flat[0] - flat[1]).square().sum(1).mean()
