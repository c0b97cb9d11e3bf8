"""Refuses weights that share a part of their memory with other parameters, such as a transposed view.

A parameter over the very same entries is the same weight (core/prunable.py). One over some of them, or in
another order, would be pruned with it unseen, and no count would be exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from featherweight.core.prunable import Prunable, unwrap
from featherweight.errors import ModelError


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a parameter lies: bytes ``start`` to ``end`` of its storage, perhaps with gaps."""

    name: str
    parameter: nn.Parameter

    @property
    def storage(self) -> int:
        """The address of the storage; 0 where the parameter has none of its own."""
        try:
            return self.parameter.untyped_storage().data_ptr()
        except (RuntimeError, NotImplementedError):  # tensor subclasses
            return 0

    @property
    def start(self) -> int:
        return int(self.parameter.storage_offset()) * self.parameter.itemsize

    @property
    def end(self) -> int:
        sizes = zip(self.parameter.shape, self.parameter.stride(), strict=True)
        return self.start + (1 + sum((size - 1) * stride for size, stride in sizes)) * self.parameter.itemsize


def check_memory(model: nn.Module, prunable: Prunable) -> None:
    """Raise ModelError, naming both, if a weight to prune overlaps another parameter in memory."""
    pruned = {weight.name for weight in prunable.weights}
    aliases = {alias for weight in prunable.weights for alias in weight.aliases}
    by_storage: dict[int, list[_Place]] = {}
    for full, parameter in unwrap(model).named_parameters():
        place = _Place(full.replace("_orig_mod.", ""), parameter)
        if place.name not in aliases and parameter.numel() and (storage := place.storage):
            by_storage.setdefault(storage, []).append(place)
    for places in by_storage.values():
        for near in _overlapping(places):
            _check_apart(near, pruned)


def _overlapping(places: Iterable[_Place]) -> Iterator[list[_Place]]:
    """Yield those that reach into each other's range, together."""
    group: list[_Place] = []
    for place in sorted(places, key=lambda each: each.start):
        if group and place.start >= max(each.end for each in group):
            yield group
            group = []
        group.append(place)
    yield group


def _check_apart(near: list[_Place], pruned: Collection[str]) -> None:
    """Mark the bytes that each uses, as columns of one matrix reach over each other and share nothing."""
    if len(near) == 1:
        return
    first = near[0].start
    user = torch.full((max(place.end for place in near) - first,), -1, dtype=torch.int32)
    for number, place in enumerate(near):
        width = place.parameter.itemsize
        strides = (*(stride * width for stride in place.parameter.stride()), 1)
        mine = user.as_strided((*place.parameter.shape, width), strides, place.start - first)
        other = near[int(mine.max())].name
        if int(mine.max()) >= 0 and not {place.name, other}.isdisjoint(pruned):
            raise ModelError(
                f"{other} and {place.name} share a part of their memory (are views of one tensor), so that "
                f"pruning one would prune the other. Give one of them memory of its own (clone), or leave "
                f"both alone with skip=."
            )
        mine.fill_(number)
