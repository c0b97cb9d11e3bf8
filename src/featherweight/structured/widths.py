"""How wide the groups of a network were and are, however many surgeries lie in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from featherweight.core.prunable import unwrap
from featherweight.core.trace import Example, trace
from featherweight.structured.axes import trace_axes
from featherweight.structured.cut import Kept
from featherweight.structured.groups import Group, find_groups
from featherweight.structured.record import Record, surgeries_of


def widths(before: nn.Module, after: nn.Module, example_inputs: Example) -> tuple[tuple[str, int, int], ...]:
    """Return for each group of ``before`` its name, and how many units it has there and in ``after``.

    Args:
        before: the network as it was.
        after: what is left of it: its surgeries are those of ``before`` and more.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments.
    """
    done = len(surgeries_of(unwrap(before)))
    left = _Left(surgeries_of(unwrap(after))[done:])
    groups = find_groups(trace_axes(trace(before, example_inputs)))
    return tuple((group.name, len(group), left.units(group)) for group in groups)


class _Left:
    """What several surgeries left of each tensor, in the indices of before the first."""

    def __init__(self, surgeries: Sequence[Record]) -> None:
        self.gone = {tensor for record in surgeries for block in record.blocks for tensor in block.tensors}
        self.kept: dict[tuple[str, int], Kept] = {}
        for record in surgeries:
            self._apply(record.kept)

    def _apply(self, kept: Mapping[str, Mapping[int, Kept]]) -> None:
        for tensor, dims in kept.items():
            for dim, stays in dims.items():
                if (tensor, dim) not in self.kept:
                    self.kept[tensor, dim] = stays.copy()
                else:  # of those that were left until now
                    until_now = self.kept[tensor, dim]
                    until_now[np.flatnonzero(until_now)] = stays

    def units(self, group: Group) -> int:
        """Count the units of which any index is left in any tensor."""
        stay = np.zeros(len(group), bool)
        for place, indices in zip(group.places, group.indices, strict=True):
            if place.tensor not in self.gone:
                kept = self.kept.get((place.tensor, place.dim))
                stay |= True if kept is None else kept[indices].any(axis=1)
        return int(stay.sum())
