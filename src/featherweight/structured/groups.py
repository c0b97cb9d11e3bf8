"""Groups: units of the same kind, such as the output channels of a layer with all that must go with them.

A unit is in a group with those that stand at the same places: in the same dimensions of the same tensors,
as the same factor of their products, as often. The 64 channels of a convolution are one group; the heads of
an attention layer are one, and the channels of its heads another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherweight.structured.axes import Place, Tracing
from featherweight.structured.units import NONE, Axis

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Group:
    """Units that can be cut away one by one, and where they are.

    Attributes:
        name: the first tensor that has them, and the dimension unless it is the first.
        units: their numbers, in the order of the first place.
        places: where they are, in the order of the state dict.
        indices: for each place, the indices that belong to each unit, ``(units, indices a unit)``.
    """

    name: str
    units: Ints
    places: tuple[Place, ...]
    indices: tuple[Ints, ...]

    def __len__(self) -> int:
        return len(self.units)


def find_groups(tracing: Tracing) -> tuple[Group, ...]:
    """Return all groups of units that stored tensors have, in the order of the state dict."""
    members: dict[int, list[tuple[int, int, int]]] = {}  # unit -> (place, column, how often) each
    where: dict[tuple[int, int], Ints] = {}  # (place, unit) -> indices
    places = list(_places(tracing))
    for number, (_, axis) in enumerate(places):
        for column, units in enumerate(axis.T):
            for unit, indices in _indices_of(units):
                members.setdefault(unit, []).append((number, column, len(indices)))
                where[number, unit] = indices
    kinds: dict[tuple[tuple[int, int, int], ...], list[int]] = {}
    for unit, kind in members.items():
        kinds.setdefault(tuple(kind), []).append(unit)
    found = [_group(places, where, kind, units) for kind, units in kinds.items()]
    return _named(found)


def _places(tracing: Tracing) -> Iterator[tuple[Place, Axis]]:
    for tensor, value in tracing.stored.items():
        for dim, axis in enumerate(tracing.axes[value]):
            if axis.size:
                yield Place(tensor, dim), axis


def _indices_of(units: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield each unit of a column with the indices that it stands at."""
    order = np.argsort(units, kind="stable")
    ordered = units[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    for start, indices in zip(starts, np.split(order, starts[1:]), strict=True):
        if ordered[start] != NONE:
            yield int(ordered[start]), indices


def _group(
    places: list[tuple[Place, Axis]],
    where: dict[tuple[int, int], Ints],
    kind: tuple[tuple[int, int, int], ...],
    units: list[int],
) -> Group:
    numbers = list(dict.fromkeys(number for number, _, _ in kind))
    units = sorted(units, key=lambda unit: where[numbers[0], unit][0])
    return Group(
        name="",
        units=np.array(units),
        places=tuple(places[number][0] for number in numbers),
        indices=tuple(np.stack([where[number, unit] for unit in units]) for number in numbers),
    )


def _named(groups: list[Group]) -> tuple[Group, ...]:
    """Give each group a name of its own."""
    taken: dict[str, int] = {}
    named: list[Group] = []
    for group in groups:
        first = group.places[0]
        name = first.tensor if first.dim == 0 else f"{first.tensor}[{first.dim}]"
        taken[name] = taken.get(name, 0) + 1
        suffix = f" #{taken[name]}" if taken[name] > 1 else ""
        named.append(Group(name + suffix, group.units, group.places, group.indices))
    return tuple(named)
