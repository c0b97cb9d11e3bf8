"""What is pruned, and how much: the axes of a pruning method composed into masks.

``criterion (what matters) x allocation (how many where) x pattern (what shape)`` meet here and in compose.py,
and nowhere else; the schedule (when) is added by the Pruner.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from featherweight._registry import Registry
from featherweight.core.mask import Mask
from featherweight.core.masks import Masks, zero_
from featherweight.core.prunable import Prunable, unwrap
from featherweight.core.rows import rows_shape
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.allocation import Allocation, AllocationLike, allocation_of
from featherweight.sparsity.compose import compose, most_left
from featherweight.sparsity.criteria import Context, Criterion, criteria
from featherweight.sparsity.patterns import Pattern, row_pattern

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """What to prune to: the axes but time. Each is a name, or a callable or object of its kind.

    Attributes:
        sparsity: fraction of the prunable weights that become zero, 0 <= sparsity < 1.
        criterion: how much a weight matters.
        allocation: how many weights each layer keeps; {name or pattern: sparsity} is ``PerLayer``.
        pattern: the shapes that zeros may have.
        skip: names or patterns of parameters and modules to leave alone.
        seed: seed of everything random.
    """

    sparsity: float = 0.9
    criterion: str | Criterion = "magnitude"
    allocation: AllocationLike = "global"
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
        _rounds_of(_resolve(criteria, self.criterion))
        allocation_of(self.allocation)
        row_pattern(self.pattern)

    def check_reachable(self, now: Masks, prunable: Prunable) -> None:
        """Check that this can be reached from the masks ``now`` of the ``prunable`` weights.

        Raises:
            SettingError: fewer weights than this asks for are kept now, the pattern keeps fewer always, or
                the sparsities given for single layers do not make this total.
        """
        kept = _kept(self.sparsity, now.numel)
        pattern = row_pattern(self.pattern)
        if now.kept <= kept - pattern.granularity:
            raise SettingError(
                f"The model is {now.sparsity:.2%} sparse already, more than the {self.sparsity:.2%} asked "
                f"for; zeros are not filled again. Ask for more, or start from the dense network."
            )
        most = sum(self._limits(prunable).values())
        if now.kept < now.numel:
            most = min(most, most_left(now, prunable.weights, pattern))
        if most <= kept - pattern.granularity:
            lowest = -(-10_000 * (now.numel - most) // now.numel) / 10_000
            zeros = "" if now.kept == now.numel else ", with the zeros that are there"
            raise SettingError(
                f"Pattern {self.pattern!r} keeps at most {most:,} of these {now.numel:,} weights{zeros}: the "
                f"lowest sparsity that works is {lowest}, got {self.sparsity}."
            )
        self._towards(allocation_of(self.allocation), prunable)

    def check_data(self, data: Any) -> None:
        """Check that ``data`` are what the criterion and the allocation look at, if they have ``check_data``.

        Raises:
            SettingError: they look at data, and these are none or have another form.
        """
        for part in (_resolve(criteria, self.criterion), allocation_of(self.allocation)):
            if (check := getattr(part, "check_data", None)) is not None:
                check(data)

    def context(self, model: nn.Module, data: Any = None) -> Context:
        """Return what criteria and allocations may look at, to be made once for many ``masks``."""
        return Context(unwrap(model), data, self.seed)

    def prepared(self, context: Context) -> Recipe:
        """Return this recipe with an allocation that has looked at the model, so that it does not again."""
        return replace(self, allocation=_prepared(allocation_of(self.allocation), context))

    def masks(
        self,
        model: nn.Module,
        prunable: Prunable,
        sparsity: float,
        *,
        data: Any = None,
        before: Masks | None = None,
        context: Context | None = None,
    ) -> Masks:
        """Return masks of exactly ``round((1 - sparsity) * prunable.numel)`` kept weights.

        Patterns that keep several weights together keep fewer, by less than ``pattern.granularity``; and all
        do where fewer than that are neither pruned before nor excluded by the pattern. A criterion with
        ``rounds`` prunes in so many steps: the density falls exponentially, and the model is scored with the
        masks of the step before applied to it; its weights are as before afterwards.

        Args:
            model: the network, as the criterion sees it.
            prunable: its prunable weights.
            sparsity: the sparsity wanted now, 0..1.
            data: handed to the criterion.
            before: masks so far; what they pruned stays pruned.
            context: what the criterion looks at, in place of one made of ``model`` and ``data``.

        Raises:
            ModelError: a criterion gave scores that are NaN or of a wrong shape, or an allocation counts
                that do not add up.
            SettingError: so few weights would be kept that a layer or an output would vanish.
        """
        context = context or self.context(model, data)
        allocation = self._towards(_prepared(allocation_of(self.allocation), context), prunable)
        pattern = row_pattern(self.pattern)
        start = prunable.numel if before is None else before.kept
        kept = _kept(sparsity, prunable.numel)
        rounds = _rounds_of(_resolve(criteria, self.criterion))
        for number, level in enumerate(_levels(start, kept, rounds)):
            with _pruned(model, before if number else None):
                scores = self._scores(prunable, before, context)
                masks = compose(scores, prunable.weights, level, allocation, pattern)
            before = Masks(masks, prunable.left_alone)
        assert before is not None
        return before

    def _limits(self, prunable: Prunable) -> dict[str, int]:
        """Return how many weights of each layer the pattern lets be kept."""
        most = row_pattern(self.pattern).most
        return {w.name: most([rows_shape(w.tensor.shape, w.output_dim, w.groups)]) for w in prunable.weights}

    def _towards(self, allocation: Allocation, prunable: Prunable) -> Allocation:
        """Return ``allocation`` as it is on the way to this sparsity; raises SettingError if it cannot be."""
        if (towards := getattr(allocation, "towards", None)) is None:
            return allocation
        sizes = {w.name: w.tensor.numel() for w in prunable.weights}
        return towards(sizes, self._limits(prunable), _kept(self.sparsity, prunable.numel))

    def _scores(self, prunable: Prunable, before: Masks | None, context: Context) -> dict[str, Tensor]:
        weights = {w.name: w.tensor.detach() for w in prunable.weights}
        scores = _resolve(criteria, self.criterion)(weights, context)
        checked = {name: _checked_scores(name, weight, scores) for name, weight in weights.items()}
        if before is None:
            return checked
        return {name: _without_pruned(score, before[name]) for name, score in checked.items()}


def _resolve(registry: Registry[T], choice: str | T) -> T:
    return registry[choice] if isinstance(choice, str) or not callable(choice) else choice  # pyright: ignore


def _kept(sparsity: float, numel: int) -> int:
    return round((1 - sparsity) * numel)


def _prepared(allocation: Allocation, context: Context) -> Allocation:
    prepare = getattr(allocation, "prepared", None)
    return allocation if prepare is None else prepare(context)


def _rounds_of(criterion: Criterion) -> int:
    rounds = getattr(criterion, "rounds", 1)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise SettingError(f"rounds of a criterion is a whole number of at least 1, got {rounds!r}.")
    return rounds


def _levels(start: int, kept: int, rounds: int) -> list[int]:
    """Return how many weights are kept after each round: ``start (kept / start)^(r / rounds)``."""
    if rounds == 1 or not 0 < kept < start:
        return [kept]
    return [round(start * (kept / start) ** (r / rounds)) for r in range(1, rounds)] + [kept]


@contextmanager
def _pruned(model: nn.Module, masks: Masks | None) -> Generator[None]:
    """Apply ``masks`` to ``model``, and give the weights back whatever happens."""
    bound = [] if masks is None else masks.bind(model)
    saved = [weight.detach().clone() for weight, _ in bound]
    try:
        for weight, pruned in bound:
            zero_(weight, pruned)
        yield
    finally:
        with torch.no_grad():
            for (weight, _), values in zip(bound, saved, strict=True):
                weight.copy_(values)


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


def _without_pruned(score: Tensor, mask: Mask) -> Tensor:
    return score if mask.kept == mask.numel else score.masked_fill(~mask.keep.to(score.device), -torch.inf)
