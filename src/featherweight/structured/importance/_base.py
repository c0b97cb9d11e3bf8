"""What a structured criterion is: how much each unit of a group matters.

A criterion is a callable ``(group, context) -> scores``, one float a unit; the highest stay. ``over_slices``
makes one of a function of a table of weights. A row of it is a slice: what belongs to one unit in one tensor.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featherweight._registry import Registry
from featherweight.structured.groups import Group

UnitScores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Context:
    """What a criterion may look at.

    Attributes:
        model: the network.
        tensors: its parameters and buffers by name.
        differentiate: computes the gradients.
        seed: seed of everything random.
        data: what the caller gave as ``data=``: batches; None if nothing.
    """

    model: nn.Module
    tensors: Mapping[str, Tensor]
    differentiate: Callable[[], Mapping[str, Tensor]] = dict
    seed: int = 0
    data: Any = None

    @cached_property
    def gradients(self) -> Mapping[str, Tensor]:
        """Gradients of the loss by parameter name; empty where no data were given."""
        return self.differentiate()

    def generator(self, name: str) -> np.random.Generator:
        """Return a generator that depends on the seed and on ``name`` only."""
        return np.random.default_rng(zlib.crc32(f"{self.seed} {name}".encode()))


Importance = Callable[[Group, Context], UnitScores]

importances: Registry[Importance] = Registry("structured criterion")


def slices(group: Group, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of a group as a table ``(units, entries of a unit)``; weights only, if it has any."""
    found = [
        (place.tensor, _table(tensors[place.tensor], place.dim, torch.from_numpy(indices)))
        for place, indices in zip(group.places, group.indices, strict=True)
        if place.tensor in tensors and tensors[place.tensor].is_floating_point()
    ]
    weights = [(name, table) for name, table in found if tensors[name].ndim > 1]
    yield from weights or found


def _table(tensor: Tensor, dim: int, indices: Tensor) -> Tensor:
    rows = tensor.detach().movedim(dim, 0) if tensor.ndim > 1 else tensor.detach()[:, None]
    in_order = torch.equal(indices.flatten(), torch.arange(len(rows)))
    chosen = rows if in_order else rows[indices.flatten().to(rows.device)]  # without a copy where it can be
    return chosen.flatten(1).reshape(len(indices), -1).float()


def over_slices(score: Callable[[Tensor], Tensor]) -> Importance:
    """Make a criterion of a function of a table ``(units, entries)``, summed over the tensors of a group."""

    @wraps(score)  # whose docstring is its row in the documentation
    def over_all(group: Group, context: Context) -> UnitScores:
        total = np.zeros(len(group))
        for _, table in slices(group, context.tensors):
            total += score(table).double().cpu().numpy()
        return total

    return over_all
