"""Groups that a module's forward takes to be equally wide: queries and values of attention, say.

Where a forward views several tensors with one number, ``x.view(n, t, heads, head_dim)`` for queries, keys and
values, cutting one of them further than another is right in the graph, but no attribute of the class can say
it. Such groups keep equally many indices, so that the class can stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featherweight.structured.axes import Tracing
from featherweight.structured.groups import Group

_VIEWS = frozenset(
    ("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.unflatten.int")
)


_NEVER_CUT = (-1, 1)  # in the place of a group: a dimension that can never be cut


@dataclass(frozen=True)
class Tie:
    """Groups of which each keeps as many indices of the viewed dimension as the others.

    Attributes:
        members: number of each group, with how many indices a unit of it has there.
        size: of the dimension.
        whole: whether one of the dimensions so viewed can never be cut, so that none is.
    """

    members: tuple[tuple[int, int], ...]
    size: int
    whole: bool = False

    def wide_enough(self, kept: Sequence[int], multiples: Sequence[int]) -> dict[int, int]:
        """Return how many units of each group stay where ``kept`` would: as wide as the widest of them.

        Args:
            kept: units of every group.
            multiples: a number of units of every group that what is kept is a multiple of.
        """
        if self.whole:
            return {group: self.size // indices for group, indices in self.members}
        step = math.lcm(*(indices * multiples[group] for group, indices in self.members))
        widest = max(kept[group] * indices for group, indices in self.members)
        width = min(self.size, -(-widest // step) * step)
        return {group: width // indices for group, indices in self.members}


def find_ties(tracing: Tracing, groups: Sequence[Group]) -> tuple[Tie, ...]:
    """Return the ties among ``groups``; each is in one at most."""
    group_of = np.full(len(tracing.units) + 1, -1)  # the last one: no unit
    for number, group in enumerate(groups):
        group_of[group.units] = number
    together: dict[tuple[str, int, int, int], set[tuple[int, int]]] = {}
    for call in tracing.graph.calls:
        if call.op not in _VIEWS:
            continue
        axes = tracing.axes[call.outputs[0]]
        for dim, axis in enumerate(axes):
            member = _member(axis, group_of, groups)
            if member is not None:
                key = (call.module, len(axes), dim, len(axis))
                together.setdefault(key, set()).add(member)
    return tuple(_joined([(size, members) for (_, _, _, size), members in together.items()]))


def _member(axis: np.ndarray, group_of: np.ndarray, groups: Sequence[Group]) -> tuple[int, int] | None:
    """Return the group that a dimension is made of, and the indices a unit has there; None: not of one."""
    if len(axis) > 1 and not axis.size:
        return _NEVER_CUT
    if axis.shape[1] != 1 or not axis.size or (axis < 0).any():
        return None
    found = np.unique(group_of[axis])
    if len(found) != 1 or found[0] < 0:
        return None
    indices, rest = divmod(len(axis), len(groups[found[0]]))
    return None if rest else (int(found[0]), indices)


def _joined(sets: list[tuple[int, set[tuple[int, int]]]]) -> list[Tie]:
    """Make one tie of those that share a group."""
    ties: list[tuple[int, set[tuple[int, int]]]] = []
    for size, members in sets:
        joined = set(members)
        for tie in list(ties):
            if tie[0] == size and _groups_of(tie[1]) & _groups_of(members):
                ties.remove(tie)
                joined |= tie[1]
        ties.append((size, joined))
    taken = [group for _, members in ties for group in _groups_of(members)]
    return [
        Tie(tuple(sorted(members - {_NEVER_CUT})), size, _NEVER_CUT in members)
        for size, members in ties
        if len(members) > 1 and all(taken.count(group) == 1 for group in _groups_of(members))
    ]


def _groups_of(members: set[tuple[int, int]]) -> set[int]:
    return {group for group, _ in members - {_NEVER_CUT}}
