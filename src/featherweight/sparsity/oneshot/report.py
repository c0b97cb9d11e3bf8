"""What one-shot pruning returns: the masks, and what it did to each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.core.prunable import LeftAlone


@dataclass(frozen=True)
class LayerReport:
    """What was done to a layer.

    Attributes:
        name: of its weight.
        weights: how many it has.
        kept: how many of them it keeps.
        error: squared error of its outputs (before the bias) on what reached it, relative to their squares.
        samples: how many inputs it saw: tokens, or positions of a convolution's output.
        seconds: time for the choice and the values of its weights, without the passes over the data.
        note: such as that another method took the place of the one asked for.
    """

    name: str
    weights: int
    kept: int
    error: float
    samples: int
    seconds: float
    note: str = ""

    def __str__(self) -> str:
        note = f"  ({self.note})" if self.note else ""
        sparsity = 1 - self.kept / self.weights
        return f"{self.name}  {sparsity:.2%} zero  error {self.error:.3g}  {self.seconds:.1f} s{note}"


class OneShotMasks(Masks):
    """Masks, with a report of each layer in the order in which they were pruned."""

    def __init__(
        self, masks: Mapping[str, Mask], left_alone: Sequence[LeftAlone], layers: Sequence[LayerReport]
    ) -> None:
        super().__init__(masks, left_alone)
        self.layers = tuple(layers)
