"""What the losses on features share: pairs of them, projectors, and which tokens count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featherweight.distillation.losses._base import DistillationLoss, View
from featherweight.distillation.projectors import Projector, in_float32, width_of
from featherweight.errors import ModelError

Pair = tuple[Tensor, Tensor]


def feature_pairs(student: View, teacher: View) -> list[Pair]:
    """Return the features of both by position, the teacher's detached.

    Raises:
        ModelError: there are none, not equally many, or they are not of the same examples.
    """
    own, goal = student.features, teacher.features
    if len(own) != len(goal) or not own:
        raise ModelError(
            f"Features are compared one to one: the student shows {len(own)}, the teacher {len(goal)}. "
            "Name them in features=, as pairs of paths."
        )
    for a, b in zip(own, goal, strict=True):
        if min(a.ndim, b.ndim) < 2 or len(a) != len(b):
            raise ModelError(
                f"Features are (n, ...) of the same n examples: the student's is {tuple(a.shape)}, the "
                f"teacher's {tuple(b.shape)}."
            )
    return [(a, b.detach()) for a, b in zip(own, goal, strict=True)]


def unpadded(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the tokens that are not padding, (k, width); maps, vectors, and all without a mask, as they are.

    Raises:
        ModelError: the mask has another number of examples or tokens.
    """
    if mask is None or x.ndim != 3:
        return x
    if mask.shape != x.shape[:2]:
        raise ModelError(
            f"The mask of padding is {tuple(mask.shape)}, and tokens are {tuple(x.shape)}: tap modules that "
            "return one token for each of the mask's."
        )
    return x[mask]


def mean(values: Tensor) -> Tensor:
    """Return the mean of all values; of none, as of a batch of padding, 0 with a gradient of 0."""
    return values.sum() / max(values.numel(), 1)


class ProjectedLoss(DistillationLoss):
    """A loss on features that brings the student's to the teacher's shapes.

    Attributes:
        projectors: made by ``prepare``.
    """

    def __init__(self, *, identity: bool, shared: bool = False) -> None:
        """Set what is learnt.

        Args:
            identity: nothing, where the widths are equal.
            shared: one projector for all pairs of the same widths and kinds, not one for each pair.
        """
        super().__init__()
        self.identity = identity
        self.shared = shared
        self.projectors = nn.ModuleList()
        self._made: list[str] = []  # form of each pair
        self._which: list[int] = []  # position of its projector

    def pairs(self, student: View, teacher: View) -> list[Pair]:
        """Return the features that are compared."""
        return feature_pairs(student, teacher)

    def prepare(self, student: View, teacher: View) -> None:
        """Make the projectors, on the device of the student's features; a second call only checks the shapes.

        Raises:
            ModelError: a pair cannot be compared, or the projectors were made for other networks.
        """
        pairs = self.pairs(student, teacher)
        forms = [_form(*pair) for pair in pairs]
        if self._made:
            return self._check(forms)
        keys = forms if self.shared else [str(i) for i in range(len(forms))]
        made: dict[str, Projector] = {}
        for i, (key, pair) in enumerate(zip(keys, pairs, strict=True)):
            made.setdefault(
                key, self._projector(*pair, seed=i)
            )  # made for all: shapes that do not fit are told
        self.projectors.extend(made.values())
        self._made, self._which = forms, [list(made).index(key) for key in keys]
        return None

    def projected(self, student: View, teacher: View, mask: Tensor | None = None) -> list[Pair]:
        """Return pairs of features of one shape in float32, the student's projected.

        Raises:
            ModelError: ``prepare`` was not called, or for other networks.
        """
        pairs = self.pairs(student, teacher)
        self._check([_form(*pair) for pair in pairs])
        return [
            (self.projectors[which](own, goal, mask), in_float32(goal))
            for which, (own, goal) in zip(self._which, pairs, strict=True)
        ]

    def _projector(self, own: Tensor, goal: Tensor, seed: int) -> Projector:
        # A parameter made in inference mode cannot be trained, and examples may be looked at in that mode.
        with torch.inference_mode(False):
            made = Projector(own.shape, goal.shape, identity=self.identity, seed=seed)
            return made.to(own.device, in_float32(own).dtype)

    def _check(self, forms: list[str]) -> None:
        if forms != self._made:
            raise ModelError(
                f"The projectors of {type(self).__name__} were made for {self._made or 'nothing yet'}, and "
                f"the features are {forms}: call prepare once, with an example, and make a loss for "
                "each pair of networks."
            )


def _form(own: Tensor, goal: Tensor) -> str:
    return f"{own.ndim - 2}d {width_of(own.shape)} -> {goal.ndim - 2}d {width_of(goal.shape)}"
