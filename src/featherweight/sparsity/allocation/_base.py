"""What an allocation is: how many weights each layer keeps, given how many are kept in all.

An allocation is a callable ``(scores, kept) -> {layer: kept of it}``. Scores are float tensors of the
weights' shapes; an entry of -inf is dead already and cannot be kept. The counts add up to ``kept``.

An allocation may have two methods that the recipe calls before: ``prepared(context) -> allocation``, to look
at the model and the data (the context is that of criteria), and ``towards(sizes, limits, kept) ->
allocation``, to be told the layers' sizes, how much of each the pattern lets be kept and how many weights are
kept in the end, and to refuse what cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from featherweight._registry import Registry

Allocation = Callable[[Mapping[str, Tensor], int], dict[str, int]]

allocations: Registry[Allocation] = Registry("allocation")


def by_size(allocation: Allocation) -> Allocation:
    """Say of an allocation that it looks at sizes and at what is dead, not at how high scores are."""
    vars(allocation)["is_by_size"] = True
    return allocation


def alive(scores: Mapping[str, Tensor]) -> dict[str, int]:
    """Return how many entries of each layer can be kept."""
    return {name: int(torch.count_nonzero(score > -torch.inf)) for name, score in scores.items()}


def apportion(weights: Mapping[str, float], limits: Mapping[str, int], total: int) -> dict[str, int]:
    """Share ``total`` in proportion to ``weights``, no layer above its limit; exact, by largest remainder.

    What a full layer cannot take goes to the others, in proportion again.
    """
    share = dict.fromkeys(weights, 0.0)
    open_layers = {name for name in weights if weights[name] > 0 and limits[name] > 0}
    rest = float(total)
    while open_layers and rest > 1e-9:
        factor = rest / sum(weights[name] for name in open_layers)
        full = {name for name in open_layers if share[name] + factor * weights[name] >= limits[name]}
        for name in full or open_layers:
            new = float(limits[name]) if full else share[name] + factor * weights[name]
            rest -= new - share[name]
            share[name] = new
        open_layers -= full
        if not full:
            break
    return _rounded(share, limits, total)


def _rounded(share: Mapping[str, float], limits: Mapping[str, int], total: int) -> dict[str, int]:
    """Round down, then give what is missing to the largest remainders; ties go to the earlier layer."""
    counts = {name: min(limits[name], int(value + 1e-9)) for name, value in share.items()}
    by_remainder = sorted(share, key=lambda name: counts[name] - share[name])
    missing = total - sum(counts.values())
    while missing > 0 and any(counts[name] < limits[name] for name in counts):
        for name in by_remainder:
            if missing and counts[name] < limits[name]:
                counts[name] += 1
                missing -= 1
    return counts
