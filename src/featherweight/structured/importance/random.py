"""Random: the baseline that every other criterion has to beat."""

from __future__ import annotations

from featherweight.structured.groups import Group
from featherweight.structured.importance._base import Context, UnitScores, importances


@importances.register("random")
def random(group: Group, context: Context) -> UnitScores:
    """Score units at random, the same ones in every process."""
    return context.generator(group.name).random(len(group))
