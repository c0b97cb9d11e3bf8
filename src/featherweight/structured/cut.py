"""What is left of every tensor when units are cut away: indices of stored tensors, sizes of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featherweight.errors import ModelError
from featherweight.structured.axes import Tracing
from featherweight.structured.groups import find_groups
from featherweight.structured.units import Axis

Kept = NDArray[np.bool_]


class Cut:
    """A choice of what is cut away from a network.

    Attributes:
        tracing: the network.
        removed: the units that go, in order.
    """

    def __init__(self, tracing: Tracing, units: Iterable[int]) -> None:
        self.tracing = tracing
        self.removed = np.unique(np.fromiter(units, np.int64))
        self._goes = np.zeros(len(tracing.units) + 1, bool)  # the last one: what no unit is, NONE
        self._goes[self.removed] = True
        self._kept: dict[int, Kept] = {}

    def kept(self, axis: Axis) -> Kept:
        """Return which indices of an axis of the network stay."""
        if id(axis) not in self._kept:
            self._kept[id(axis)] = ~np.any(self._goes[axis], axis=1)
        return self._kept[id(axis)]

    def shape(self, value: str) -> tuple[int, ...]:
        """Return the sizes of a tensor of the graph after the cut."""
        return tuple(int(self.kept(axis).sum()) for axis in self.tracing.axes[value])

    @cached_property
    def stored(self) -> Mapping[str, dict[int, Kept]]:
        """What stays along which dimension of each parameter and buffer that gets smaller."""
        found: dict[str, dict[int, Kept]] = {}
        for tensor, value in self.tracing.stored.items():
            dims = {dim: self.kept(axis) for dim, axis in enumerate(self.tracing.axes[value])}
            smaller = {dim: kept for dim, kept in dims.items() if not kept.all()}
            if smaller:
                found[tensor] = smaller
        return found


def cut_of(tracing: Tracing, kept: Mapping[str, Mapping[int, Kept]]) -> Cut:
    """Return the cut that leaves ``kept``: a unit went if everything that belongs to it did."""
    kept = {tracing.graph.first_name(name): dims for name, dims in kept.items()}
    removed: list[int] = []
    for group in find_groups(tracing):
        gone = np.ones(len(group), bool)
        for place, indices in zip(group.places, group.indices, strict=True):
            stays = kept.get(place.tensor, {}).get(place.dim)
            gone &= False if stays is None else ~stays[indices].any(axis=1)
        removed += group.units[gone].tolist()
    cut = Cut(tracing, removed)
    same = cut.stored.keys() == kept.keys() and all(
        dims.keys() == kept[name].keys() and all((dims[d] == kept[name][d]).all() for d in dims)
        for name, dims in cut.stored.items()
    )
    if not same:
        raise ModelError("The network's dimensions do not move together as when the surgery was done.")
    return cut
