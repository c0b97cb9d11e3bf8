"""What a criterion is: scores for every prunable weight; the highest scores are kept.

A criterion is a callable ``(weights, context) -> scores``. One that looks at a layer at a time is a
function of one weight under ``@layerwise``. Scores are float32, of the weight's shape, without NaN. One with
settings is a frozen dataclass with ``__call__``; its ``rounds`` ask the recipe to prune in so many steps.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from featherweight._registry import Registry
from featherweight.errors import SettingError

Scores = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Context:
    """What a criterion may look at besides the weights.

    Attributes:
        model: the network.
        data: what the caller gave as ``data=``: a loader or a callable; None if nothing.
        seed: seed of everything random.
    """

    model: nn.Module
    data: Any = None
    seed: int = 0

    def generator(self, name: str) -> torch.Generator:
        """Return a generator that depends on the seed and on ``name`` only: the same in every process."""
        # A CPU generator uses the low 32 bits of its seed only.
        return torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {name}".encode()))


Criterion = Callable[[Mapping[str, Tensor], Context], Scores]
LayerCriterion = Callable[[Tensor, str, Context], Tensor]

criteria: Registry[Criterion] = Registry("criterion")


def layerwise(score: LayerCriterion) -> Criterion:
    """Make a criterion of a function ``(weight, name, context) -> scores`` of one layer."""

    @wraps(score)
    def over_all(weights: Mapping[str, Tensor], context: Context) -> Scores:
        return {name: score(weight, name, context) for name, weight in weights.items()}

    return over_all


def check_rounds(rounds: int) -> None:
    """Raise SettingError unless ``rounds`` is a whole number of at least 1."""
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:  # pyright: ignore
        raise SettingError(f"rounds is a whole number of at least 1, got {rounds!r}.")
