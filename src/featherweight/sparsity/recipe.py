"""A recipe composes criterion, allocation and pattern into masks of exactly the sparsity asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from featherweight._registry import Registry
from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.core.prunable import Prunable, PrunableWeight, units, unwrap
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.allocation import Allocation, allocations
from featherweight.sparsity.criteria import Context, Criterion, criteria
from featherweight.sparsity.patterns import Pattern, patterns

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """What to prune to: the axes but time. Each is a registered name, or a callable of its kind.

    Attributes:
        sparsity: fraction of the prunable weights that become zero, 0 <= sparsity < 1.
        criterion: how much a weight matters.
        allocation: how many weights each layer keeps.
        pattern: the shapes that zeros may have.
        skip: names or patterns of parameters and modules to leave alone.
        seed: seed of everything random.
    """

    sparsity: float = 0.9
    criterion: str | Criterion = "magnitude"
    allocation: str | Allocation = "global"
    pattern: str | Pattern = "unstructured"
    skip: Sequence[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        no_number = isinstance(self.sparsity, bool) or not isinstance(self.sparsity, Real)
        if no_number or not 0 <= self.sparsity < 1:
            raise SettingError(
                f"sparsity is the fraction of zeros, 0 <= sparsity < 1, got {self.sparsity!r}. "
                f"To keep a tenth of the weights, ask for 0.9."
            )
        object.__setattr__(self, "skip", (self.skip,) if isinstance(self.skip, str) else tuple(self.skip))
        _resolve(criteria, self.criterion)
        _resolve(allocations, self.allocation)
        _resolve(patterns, self.pattern)

    def check_reachable(self, now: Masks) -> None:
        """Raise SettingError if fewer weights than this asks for are kept ``now``."""
        if now.kept < round((1 - self.sparsity) * now.numel):
            raise SettingError(
                f"The model is {now.sparsity:.2%} sparse already, more than the {self.sparsity:.2%} asked "
                f"for; zeros are not filled again. Ask for more, or start from the dense network."
            )

    def masks(
        self,
        model: nn.Module,
        prunable: Prunable,
        sparsity: float,
        *,
        data: Any = None,
        before: Masks | None = None,
    ) -> Masks:
        """Return masks of exactly ``round((1 - sparsity) * prunable.numel)`` kept weights.

        Args:
            model: the network, as the criterion sees it.
            prunable: its prunable weights.
            sparsity: the sparsity wanted now, 0..1.
            data: handed to the criterion.
            before: masks so far; what they pruned stays pruned.

        Raises:
            ModelError: a criterion gave scores that are NaN or of a wrong shape, or an allocation counts
                that do not add up.
            SettingError: so few weights would be kept that a layer or an output would vanish.
        """
        scores = self._scores(model, prunable, data)
        if before is not None:
            scores = {name: _without_pruned(score, before[name]) for name, score in scores.items()}
        must_keep = {w.name: _must_keep(w, scores[w.name]) for w in prunable.weights}
        kept = round((1 - sparsity) * prunable.numel)
        counts = _checked_counts(_resolve(allocations, self.allocation)(scores, kept), scores, kept)
        counts = _with_floors(counts, {name: len(places) for name, places in must_keep.items()})
        pattern = _resolve(patterns, self.pattern)
        masks: dict[str, Mask] = {}
        for name, score in scores.items():
            lifted = score.reshape(-1).index_fill(0, must_keep[name], torch.inf).view(score.shape)
            masks[name] = pattern(lifted, counts[name])
        return Masks(masks, prunable.left_alone)

    def _scores(self, model: nn.Module, prunable: Prunable, data: Any) -> dict[str, Tensor]:
        weights = {w.name: w.tensor.detach() for w in prunable.weights}
        scores = _resolve(criteria, self.criterion)(weights, Context(unwrap(model), data, self.seed))
        return {name: _checked_scores(name, weight, scores) for name, weight in weights.items()}


def _resolve(registry: Registry[T], choice: str | T) -> T:
    return registry[choice] if isinstance(choice, str) or not callable(choice) else choice  # pyright: ignore


def _checked_scores(name: str, weight: Tensor, scores: Mapping[str, Tensor]) -> Tensor:
    if name not in scores or scores[name].shape != weight.shape:
        got = tuple(scores[name].shape) if name in scores else "none"
        raise ModelError(f"The criterion gave {name} scores of shape {got}, expected {tuple(weight.shape)}.")
    score = scores[name].detach().float()
    low, high = torch.aminmax(score)  # one pass; NaN comes through
    if low.isnan():
        raise ModelError(
            f"{name}: the scores of {int(score.isnan().sum())} weights are NaN. Are the weights?"
        )
    limit = torch.finfo(torch.float32).max  # infinities are ours: they mark what is dead or must be kept
    return score if low.isfinite() and high.isfinite() else score.clamp(-limit, limit)


def _checked_counts(counts: Mapping[str, int], scores: Mapping[str, Tensor], kept: int) -> Mapping[str, int]:
    if counts.keys() != scores.keys() or sum(counts.values()) != kept:
        raise ModelError(
            f"The allocation keeps {sum(counts.values())} weights in {len(counts)} layers, expected {kept} "
            f"in {len(scores)}: it returns {{layer: weights kept}} that add up to its second argument."
        )
    return counts


def _without_pruned(score: Tensor, mask: Mask) -> Tensor:
    return score if mask.kept == mask.numel else score.masked_fill(~mask.keep.to(score.device), -torch.inf)


def _must_keep(weight: PrunableWeight, scores: Tensor) -> Tensor:
    """Return flat indices to keep whatever the sparsity: a layer's best weight, each output's at the end."""
    if not weight.is_output:
        return scores.reshape(-1).argmax().view(1)
    flat = torch.arange(scores.numel(), device=scores.device).view(scores.shape)
    best = units(scores, weight.output_dim).argmax(1, keepdim=True)
    return units(flat, weight.output_dim).gather(1, best).view(-1)


def _with_floors(counts: Mapping[str, int], floors: Mapping[str, int]) -> dict[str, int]:
    """Raise each layer to its floor, taking from the layers that keep most; the total stays."""
    if sum(counts.values()) < sum(floors.values()):
        raise SettingError(
            f"The sparsity leaves {sum(counts.values())} weights, but at least {sum(floors.values())} must "
            f"stay (one in each layer, one for each output of the last layer). Ask for less sparsity."
        )
    raised = {name: max(count, floors[name]) for name, count in counts.items()}
    excess = sum(raised.values()) - sum(counts.values())
    for name in sorted(raised, key=lambda n: floors[n] - raised[n]):
        taken = min(excess, raised[name] - floors[name])
        raised[name] -= taken
        excess -= taken
    return raised
