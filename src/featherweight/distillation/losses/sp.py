"""Similarity-preserving distillation (Tung, Mori 2019, https://arxiv.org/abs/1907.09682).

With the features of a batch as rows, A of the student and B of the teacher, (n, anything)::

    G(A) = A A^T, each row divided by its length
    L = mean over pairs of taps of |G(A) - G(B)|^2 / n^2

(|.| is the norm of Frobenius, so this is the mean over all pairs of examples, as in the paper. As the rows of
G are of length 1, it falls with 1 / n: a weight is for one size of batch.) Widths and
resolutions may differ: only similarities of examples are compared. The gradient is, with H = A A^T, g = G(A)
and D = 2 (g - G(B)) / n^2, dL/dA = (E + E^T) A with rows E_i = (D_i - (D_i . g_i) g_i) / |H_i|.

By default it reads the embedding, which every network has; the paper takes the last map before the pooling:
name it in ``features=``. The paper sums over pairs of taps; its weight is 3000.
"""

from __future__ import annotations

import torch
from torch import Tensor

from featherweight.distillation.losses._base import DistillationLoss, Lesson, View, losses
from featherweight.distillation.losses._relations import both_features, flat, full_precision, unit


@losses.register("sp")
class SimilarityPreserving(DistillationLoss):
    """Squared distance of the matrices of similarities (n, n); features of any shape (n, ...)."""

    features = "embedding"

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        pairs = [(flat(a, lesson.mask), flat(b, lesson.mask)) for a, b in both_features(student, teacher)]
        parts = [(_similarities(own) - _similarities(goal)).square().mean() for own, goal in pairs]
        return torch.stack(parts).mean()


def _similarities(rows: Tensor) -> Tensor:
    with full_precision(rows):
        return unit(rows @ rows.T)
