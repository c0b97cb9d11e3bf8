"""Which units go: the least important ones, until the network is as small as was asked for.

A selection is a number ``share`` of 0..1: how far to go down the order. Two orders:

- global: all units by importance, that of a group divided by its mean so that groups compare;
- group: in each group the same fraction.

Of ``n`` units ``floor((1 - share) n)`` stay. Of equal scores in a group the first stay; of equal scores in
several groups those that come earlier in their group's order, as a fraction of its size.

A group keeps at least ``min_keep`` units, and a multiple of ``round_to``. A group that has fewer units than
``round_to`` cannot keep a multiple of it, and is not rounded. Groups that a forward takes to be equally wide
(see ties) are as wide as the widest of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featherweight.errors import SettingError
from featherweight.structured.axes import Tracing
from featherweight.structured.cut import Cut
from featherweight.structured.groups import Group
from featherweight.structured.importance import UnitScores
from featherweight.structured.ties import Tie, find_ties

SCOPES = ("global", "group")
ROUNDING = 1e-9  # of a unit: what (1 - 0.71) * 100 lacks of 29


@dataclass(frozen=True)
class Floors:
    """What each group keeps whatever its importance.

    Attributes:
        min_keep: units of a group, at least 1.
        round_to: a group of at least this many units keeps a multiple of it.
    """

    min_keep: int = 1
    round_to: int = 1

    def __post_init__(self) -> None:
        for name in ("min_keep", "round_to"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SettingError(f"{name} is a number of units of at least 1, got {value!r}.")

    def kept(self, wanted: int, size: int) -> int:
        """Return how many of ``size`` units stay where ``wanted`` would."""
        kept = max(wanted, min(self.min_keep, size))
        multiple = self.multiple(size)
        return min(-(-kept // multiple) * multiple, size)

    def multiple(self, size: int) -> int:
        """Return what a group of ``size`` units keeps a multiple of."""
        return self.round_to if size >= self.round_to else 1


@dataclass(frozen=True, eq=False)
class Ranking:
    """Groups with the importance of their units.

    Attributes:
        tracing: the network.
        groups: those that may be cut.
        scores: importance of each group's units.
        scope: "global" or "group".
        floors: what each group keeps.
    """

    tracing: Tracing
    groups: Sequence[Group]
    scores: Sequence[UnitScores]
    scope: str = "global"
    floors: Floors = Floors()

    def cut(self, share: float) -> Cut:
        """Return the cut that goes ``share`` (0..1) of the way down the order."""
        kept = self._kept_globally(share) if self.scope == "global" else self._kept_in_each(share)
        sizes = [len(group) for group in self.groups]
        kept = [self.floors.kept(wanted, size) for wanted, size in zip(kept, sizes, strict=True)]
        multiples = [self.floors.multiple(size) for size in sizes]
        for tie in self._ties:
            for number, units in tie.wide_enough(kept, multiples).items():
                kept[number] = units
        removed: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        for group, order, stay in zip(self.groups, self._orders, kept, strict=True):
            removed.append(group.units[order[stay:]])
        return Cut(self.tracing, np.concatenate(removed).tolist())

    @cached_property
    def _ties(self) -> tuple[Tie, ...]:
        return find_ties(self.tracing, self.groups)

    @cached_property
    def _orders(self) -> list[NDArray[np.int64]]:
        """The units of each group, the most important first."""
        return [np.argsort(-scores, kind="stable") for scores in self.scores]

    def _kept_in_each(self, share: float) -> list[int]:
        return [_floor((1 - share) * len(group)) for group in self.groups]

    def _kept_globally(self, share: float) -> list[int]:
        stay = self._order[: _floor((1 - share) * len(self._order))]
        return np.bincount(stay, minlength=len(self.groups)).tolist()

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """The group of each unit, the most important unit first."""
        if not self.groups:
            return np.empty(0, np.int64)
        relative = [
            np.sort(scores)[::-1] / max(float(np.abs(scores).mean()), 1e-300) for scores in self.scores
        ]
        places = [np.arange(len(scores)) / len(scores) for scores in self.scores]
        groups = np.repeat(np.arange(len(self.groups)), [len(scores) for scores in self.scores])
        return groups[np.lexsort((np.concatenate(places), -np.concatenate(relative)))]


def _floor(units: float) -> int:
    return math.floor(units + ROUNDING)


def smallest_cut(
    ranking: Ranking,
    measure: Callable[[Cut], float],
    target: float,
    what: str,
    *,
    whole: float = 1.0,
    steps: int | None = None,
    least: float = 0.0,
) -> Cut:
    """Return the cut that goes least far and reaches ``measure(cut) <= target``.

    ``steps`` shares are told apart; None: as many as there are units. The search begins at ``least``. An
    error tells what is left as a fraction of ``whole``, too.

    Raises:
        SettingError: even the floors are above the target; says how far it gets.
    """
    low, high = least, 1.0
    if measure(ranking.cut(low)) <= target:
        return ranking.cut(low)
    if (left := measure(ranking.cut(high))) > target:
        raise SettingError(
            f"{what} cannot be reached: with every group at its floor {left:,.6g} are left, more than "
            f"{target:,.6g}; that is a fraction of {left / whole:.3g}. Lower min_keep or round_to, skip "
            f"less, or ask for less."
        )
    steps = steps or max(1, sum(len(group) for group in ranking.groups))
    while (high - low) * steps > 0.5:
        middle = (low + high) / 2
        low, high = (low, middle) if measure(ranking.cut(middle)) <= target else (middle, high)
    return ranking.cut(high)
