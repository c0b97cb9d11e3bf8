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
    places = list(_places(tracing))
    if not places:
        return ()
    uses = _Uses([axis for _, axis in places])
    return _named([_group([place for place, _ in places], uses, units) for units in uses.kinds()])


def _places(tracing: Tracing) -> Iterator[tuple[Place, Axis]]:
    for tensor, value in tracing.stored.items():
        for dim, axis in enumerate(tracing.axes[value]):
            if axis.size:
                yield Place(tensor, dim), axis


class _Uses:
    """Where each unit stands: tables with a row a use, those of one unit next to each other.

    Attributes:
        columns: number of the place and column of the axis, as one number each pair.
        indices: along that axis.
        units: the units, in order.
        starts: first row of each of them, and the number of rows.
    """

    def __init__(self, axes: list[Axis]) -> None:
        columns = [column for axis in axes for column in axis.T]
        self.place_of = np.repeat(np.arange(len(axes)), [axis.shape[1] for axis in axes])
        sizes = [len(column) for column in columns]
        units = np.concatenate(columns)
        used = units != NONE
        order = np.argsort(units[used], kind="stable")
        self.columns = np.repeat(np.arange(len(columns)), sizes)[used][order]
        self.indices = np.concatenate([np.arange(size) for size in sizes])[used][order]
        self.units, first = np.unique(units[used][order], return_index=True)
        self.starts = np.append(first, len(order))

    def rows(self, unit: int) -> slice:
        """Return the rows of the unit of that number in ``units``."""
        return slice(self.starts[unit], self.starts[unit + 1])

    def kinds(self) -> list[Ints]:
        """Return the numbers in ``units`` of those that stand at the same places, as often."""
        found: dict[bytes, list[int]] = {}
        for unit in range(len(self.units)):
            found.setdefault(self.columns[self.rows(unit)].tobytes(), []).append(unit)
        kinds = [np.array(units) for units in found.values()]
        return sorted(kinds, key=lambda units: (self.columns[self.starts[units[0]]], units[0]))


def _group(places: list[Place], uses: _Uses, units: Ints) -> Group:
    """Return the group of units of one kind, given as numbers in ``uses.units``; it has no name yet."""
    rows = uses.rows(units[0])
    numbers = uses.place_of[uses.columns[rows]]
    indices = uses.indices[uses.starts[units][:, None] + np.arange(len(numbers))]
    order = np.argsort(indices[:, 0], kind="stable")
    ends = np.flatnonzero(np.diff(numbers)) + 1
    return Group(
        name="",
        units=uses.units[units][order],
        places=tuple(places[number] for number in numbers[np.append(0, ends)]),
        indices=tuple(np.ascontiguousarray(part) for part in np.split(indices[order], ends, axis=1)),
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
