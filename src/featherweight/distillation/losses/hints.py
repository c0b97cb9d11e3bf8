"""Hints (FitNets: Romero, Ballas, Kahou, Chassang, Gatta, Bengio 2015, https://arxiv.org/abs/1412.6550).

With features f of the student and g of the teacher, and a learnt projector r for each pair
(``distillation/projectors.py``)::

    L = mean over pairs of mean over all elements of (r(f) - g)^2

The mean over elements is over examples, positions and channels; tokens of padding are left out. FitNets takes
half the sum of squares of one pair, from the middle of the networks: ``pairs=`` chooses. It always learns a
regressor, and so does this loss; where the widths are equal it starts as the identity, or is that for good
(``identity=``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from featherweight.distillation.losses._base import Lesson, View, losses
from featherweight.distillation.losses._features import Pair, ProjectedLoss, feature_pairs, mean, unpadded
from featherweight.errors import ModelError, SettingError


@losses.register("hints")
class Hints(ProjectedLoss):
    """Mean squared error of features after a projector; maps, tokens or vectors."""

    features = "stages"

    def __init__(self, pairs: Sequence[int] | None = None, *, identity: bool = False) -> None:
        """Take which features to compare.

        Args:
            pairs: their positions among the tapped ones, from the end where below 0; None: all.
            identity: learn nothing where the widths are equal.

        Raises:
            SettingError: ``pairs`` is empty, or is not integers, each once.
        """
        super().__init__(identity=identity)
        self.chosen = None if pairs is None else _checked(pairs)

    def pairs(self, student: View, teacher: View) -> list[Pair]:
        """Return the features that are compared; raises ModelError where one is not there."""
        found = feature_pairs(student, teacher)
        if self.chosen is None:
            return found
        if not all(-len(found) <= i < len(found) for i in self.chosen):
            raise ModelError(f"pairs={self.chosen} of hints: there are {len(found)}, counted from 0.")
        return [found[i] for i in self.chosen]

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        pairs = self.projected(student, teacher, lesson.mask)
        kept = [(unpadded(own, lesson.mask), unpadded(goal, lesson.mask)) for own, goal in pairs]
        errors = [mean((own - goal).square()) for own, goal in kept]
        return torch.stack(errors).mean()


def _checked(pairs: Sequence[int]) -> tuple[int, ...]:
    known = isinstance(pairs, Sequence) and not isinstance(pairs, str)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not (known and pairs and all(type(i) is int for i in pairs) and len(set(pairs)) == len(pairs)):
        raise SettingError(f"pairs is a list of positions, each once, such as [1] or [0, -1]; got {pairs!r}.")
    return tuple(pairs)
