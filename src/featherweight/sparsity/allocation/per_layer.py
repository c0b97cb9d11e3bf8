"""Sparsities given by the user for some layers; the others share what is left of the total.

On the way to the target, with a share ``p`` of the pruning done, a layer given ``s`` has sparsity ``p s``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from torch import Tensor

from featherweight.core.skip import match_skip
from featherweight.errors import SettingError
from featherweight.sparsity.allocation._base import Allocation, alive, allocations, apportion

AllocationLike = str | Allocation | Mapping[str, float]

_ROUNDING = 5e-5  # of a total that was read off an error message


@dataclass(frozen=True)
class PerLayer:
    """An allocation with sparsities for single layers.

    >>> fw.prune(model, 0.8, allocation=PerLayer({"layer1.*": 0.5, "fc": 0.9}, rest="erk"))

    Attributes:
        targets: sparsity, 0 <= sparsity < 1, by name or pattern (``*``, ``?``, ``[...]``) of weights, or of
            modules, which stand for all weights inside them; of several that match, the first counts.
        rest: how the weights that are left are shared among the other layers.

    Raises:
        SettingError: a sparsity is out of range, or ``rest`` is no allocation.
    """

    targets: Mapping[str, float]
    rest: str | Allocation = "global"

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", dict(self.targets))
        for pattern, sparsity in self.targets.items():
            no_number = isinstance(sparsity, bool) or not isinstance(sparsity, Real)  # pyright: ignore
            if no_number or not 0 <= sparsity < 1:
                raise SettingError(
                    f"allocation={{{pattern!r}: {sparsity!r}}}: the sparsity of a layer is 0 <= sparsity < 1."
                )
        if not self.targets:
            raise SettingError("allocation={} names no layer. Give {name or pattern: sparsity}.")
        allocation_of(self.rest)

    def check_data(self, data: Any) -> None:
        """Raise SettingError if ``rest`` looks at data, and these are none or have another form."""
        if (check := getattr(allocation_of(self.rest), "check_data", None)) is not None:
            check(data)

    def prepared(self, context: Any) -> PerLayer:
        """Return this with a ``rest`` that has looked at the model."""
        prepare = getattr(allocation_of(self.rest), "prepared", None)
        return self if prepare is None else replace(self, rest=prepare(context))

    def towards(self, sizes: Mapping[str, int], limits: Mapping[str, int], kept: int) -> Allocation:
        """Return the allocation for all levels on the way to ``kept`` weights.

        Args:
            sizes: number of weights of each layer.
            limits: how many of them the pattern lets each keep.
            kept: how many are kept in all in the end.

        Raises:
            SettingError: a name matches no layer, the pattern does not allow so little sparsity in a layer,
                or the sparsities do not make that total.
        """
        found = match_skip(tuple(self.targets), [(name,) for name in sizes], "allocation", "prunable weight")
        given = {name: self.targets[pattern] for name, pattern in found.items()}
        counts = {name: round((1 - sparsity) * sizes[name]) for name, sparsity in given.items()}
        for name, count in counts.items():
            if count > limits[name]:
                lowest = f"{1 - limits[name] / sizes[name]:.4f}"
                raise SettingError(
                    f"allocation={{{found[name]!r}: {given[name]}}}: the pattern keeps at most "
                    f"{limits[name]:,} of the {sizes[name]:,} weights of {name}, a sparsity of {lowest}."
                )
        _check_total(counts, sizes, limits, kept)
        return _Towards(given, allocation_of(self.rest), kept)

    def __call__(self, scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
        """Return how many weights each layer keeps, with ``kept`` as the target."""
        sizes = {name: score.numel() for name, score in scores.items()}
        return self.towards(sizes, sizes, kept)(scores, kept)


@dataclass(frozen=True)
class _Towards:
    """The allocation on the way to ``kept`` weights in all.

    Attributes:
        given: sparsities of layers at the end of the way.
        rest: the allocation of the others.
        kept: how many weights are kept at the end.
    """

    given: Mapping[str, float]
    rest: Allocation
    kept: int

    def __call__(self, scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
        limits = alive(scores)
        others = {name: score for name, score in scores.items() if name not in self.given}
        counts = {name: min(limits[name], count) for name, count in self._given(scores, kept).items()}
        space = sum(limits[name] for name in others)
        left = min(max(kept - sum(counts.values()), 0), space)
        if left + sum(counts.values()) != kept:  # zeros were there before, or the pattern leaves fewer
            counts = apportion({name: max(count, 1) for name, count in counts.items()}, limits, kept - left)
        counts |= self.rest(others, left) if others else {}
        return {name: counts[name] for name in scores}

    def _given(self, scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
        numel = sum(score.numel() for score in scores.values())
        done = min(1.0, (numel - kept) / (numel - self.kept)) if self.kept < numel else 1.0
        return {name: round((1 - done * s) * scores[name].numel()) for name, s in self.given.items()}


def allocation_of(choice: AllocationLike) -> Allocation:
    """Return the allocation that a name, a callable or a mapping ``{pattern: sparsity}`` stands for.

    Raises:
        SettingError: it stands for none.
    """
    if isinstance(choice, Mapping):
        return PerLayer(choice)
    known = not isinstance(choice, str) and (callable(choice) or hasattr(choice, "prepared"))
    return choice if known else allocations[choice]  # pyright: ignore[reportReturnType, reportArgumentType]


def _check_total(
    counts: Mapping[str, int], sizes: Mapping[str, int], limits: Mapping[str, int], kept: int
) -> None:
    """Raise SettingError if layers with ``counts``, and others up to their limits, cannot make ``kept``."""
    numel, least = sum(sizes.values()), sum(counts.values())
    most = least + sum(limit for name, limit in limits.items() if name not in counts)
    slack = len(counts) + math.ceil(_ROUNDING * numel)
    if least - slack <= kept <= most + slack:
        return
    low, high = (f"{1 - count / numel:.4f}" for count in (most, least))
    total = high if least == most else f"{low} (the other layers as dense as can be) to {high}"
    raise SettingError(
        f"The sparsities given by allocation= make a total sparsity of {total}, got {1 - kept / numel:.4f}. "
        f"Change the total, or some of them."
    )
