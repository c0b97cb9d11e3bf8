"""What is left of every tensor when units are cut away: indices of stored tensors, sizes of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherweight.structured.axes import Tracing
from featherweight.structured.units import Axis

Kept = NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """A choice of what is cut away from a network.

    Attributes:
        tracing: the network.
        removed: the units that go.
    """

    tracing: Tracing
    removed: NDArray[np.int64]

    @classmethod
    def of(cls, tracing: Tracing, units: Iterable[int]) -> Cut:
        """Return the cut that removes ``units``."""
        return cls(tracing, np.array(sorted(units), np.int64))

    def kept(self, axis: Axis) -> Kept:
        """Return which indices of an axis stay."""
        resolved = self.tracing.units.resolve(axis)
        if not resolved.size:
            return np.ones(len(axis), bool)
        goes = np.asarray(np.isin(resolved, self.removed).any(axis=1), bool)
        return ~goes

    def shape(self, value: str) -> tuple[int, ...]:
        """Return the sizes of a tensor of the graph after the cut."""
        return tuple(int(self.kept(axis).sum()) for axis in self.tracing.axes[value])

    def stored(self) -> Mapping[str, dict[int, Kept]]:
        """Return, for each parameter and buffer that gets smaller, what stays along which dimension."""
        found: dict[str, dict[int, Kept]] = {}
        for tensor, value in self.tracing.stored.items():
            dims = {dim: self.kept(axis) for dim, axis in enumerate(self.tracing.axes[value])}
            smaller = {dim: kept for dim, kept in dims.items() if not kept.all()}
            if smaller:
                found[tensor] = smaller
        return found
