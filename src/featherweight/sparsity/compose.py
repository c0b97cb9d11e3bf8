"""Scores, an allocation and a pattern composed into masks: the one place where they meet.

``scores -> pattern.restrict -> allocation -> floors -> pattern.mask``. A pattern that keeps several weights
together misses a layer's count by a few, which go to the next layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from featherweight.core.mask import Mask
from featherweight.core.prunable import PrunableWeight, units
from featherweight.core.rows import from_rows, to_rows
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.allocation import Allocation, alive
from featherweight.sparsity.patterns import FromFunction, RowPattern


def compose(
    scores: Mapping[str, Tensor],
    weights: Sequence[PrunableWeight],
    kept: int,
    allocation: Allocation,
    pattern: RowPattern,
) -> dict[str, Mask]:
    """Return masks of ``kept`` weights in all; fewer by less than ``pattern.granularity``, never more.

    Args:
        scores: of each weight, in its shape; -inf where it is dead.
        weights: the prunable weights, in the order of the network.
        kept: how many are to be kept; fewer are where the pattern leaves fewer that are alive.
        allocation: how many of them each layer keeps.
        pattern: the shapes that zeros may have.

    Raises:
        ModelError: the allocation's counts are not of the layers, do not add up, or exceed a layer.
        SettingError: so few would be kept that a layer or an output would vanish.
    """
    if isinstance(pattern, FromFunction):  # no restriction, nothing to carry: rows would only cost time
        return _in_place(scores, weights, kept, allocation, pattern)
    rows = {w.name: to_rows(scores[w.name], w.output_dim, w.groups) for w in weights}
    rows = pattern.restrict(rows, kept)
    in_shape = {
        w.name: from_rows(rows[w.name], w.tensor.shape, w.output_dim, w.groups) for w in weights
    }  # as allocations expect them
    limits = alive(in_shape)
    possible = min(kept, sum(limits.values()))
    counts = _checked_counts(allocation(in_shape, possible), in_shape, possible)
    _check_limits(counts, limits)
    lifted = {w.name: _lifted(rows[w.name], _must_keep(rows[w.name], w.is_output, 0)) for w in weights}
    counts = _with_floors(counts, pattern.floors(lifted, kept))
    masks: dict[str, Mask] = {}
    carried = 0
    for w in weights:
        mask = pattern.mask(lifted[w.name], counts[w.name] + carried)
        carried += counts[w.name] - mask.kept
        masks[w.name] = Mask(from_rows(mask.keep, w.tensor.shape, w.output_dim, w.groups).contiguous())
    return masks


def most_left(now: Mapping[str, Mask], weights: Sequence[PrunableWeight], pattern: RowPattern) -> int:
    """Return how many weights ``pattern`` lets be kept of those that the masks ``now`` keep."""
    if isinstance(pattern, FromFunction):
        return sum(mask.kept for mask in now.values())
    kept = {w.name: to_rows(now[w.name].keep.cpu(), w.output_dim, w.groups) for w in weights}
    scores = {name: torch.zeros(keep.shape).masked_fill(~keep, -torch.inf) for name, keep in kept.items()}
    return sum(alive(pattern.restrict(scores, 0)).values())


def _in_place(
    scores: Mapping[str, Tensor],
    weights: Sequence[PrunableWeight],
    kept: int,
    allocation: Allocation,
    pattern: FromFunction,
) -> dict[str, Mask]:
    must_keep = {w.name: _must_keep(scores[w.name], w.is_output, w.output_dim) for w in weights}
    counts = _checked_counts(allocation(scores, kept), scores, kept)
    counts = _with_floors(counts, {name: len(places) for name, places in must_keep.items()})
    return {
        name: pattern.mask(_lifted(score, must_keep[name]), counts[name]) for name, score in scores.items()
    }


def _lifted(scores: Tensor, places: Tensor) -> Tensor:
    return scores.reshape(-1).index_fill(0, places, torch.inf).view(scores.shape)


def _must_keep(scores: Tensor, is_output: bool, output_dim: int) -> Tensor:
    """Return flat indices to keep whatever the sparsity: a layer's best weight, each output's at the end."""
    if not is_output:
        return scores.reshape(-1).argmax().view(1)
    flat = torch.arange(scores.numel(), device=scores.device).view(scores.shape)
    best = units(scores, output_dim).argmax(1, keepdim=True)
    return units(flat, output_dim).gather(1, best).view(-1)


def _checked_counts(counts: Mapping[str, int], scores: Mapping[str, Tensor], kept: int) -> Mapping[str, int]:
    if counts.keys() != scores.keys() or sum(counts.values()) != kept:
        raise ModelError(
            f"The allocation keeps {sum(counts.values())} weights in {len(counts)} layers, expected {kept} "
            f"in {len(scores)}: it returns {{layer: weights kept}} that add up to its second argument."
        )
    return counts


def _check_limits(counts: Mapping[str, int], limits: Mapping[str, int]) -> None:
    for name, count in counts.items():
        if count > limits[name]:
            raise ModelError(
                f"The allocation keeps {count} weights of {name}, of which the pattern and the zeros "
                f"there leave {limits[name]}: an allocation counts no entry whose score is -inf."
            )


def _with_floors(counts: Mapping[str, int], floors: Mapping[str, int]) -> dict[str, int]:
    """Raise each layer to its floor, taking from the layers that keep most; the total stays."""
    if sum(counts.values()) < sum(floors.values()):
        raise SettingError(
            f"The sparsity leaves {sum(counts.values())} weights, but at least {sum(floors.values())} must "
            f"stay (one in each layer, one for each output of the last layer, and what the pattern keeps "
            f"together with them). Ask for less sparsity."
        )
    raised = {name: max(count, floors[name]) for name, count in counts.items()}
    excess = sum(raised.values()) - sum(counts.values())
    for name in sorted(raised, key=lambda n: floors[n] - raised[n]):
        taken = min(excess, raised[name] - floors[name])
        raised[name] -= taken
        excess -= taken
    return raised
