"""What goes: trace the network, group what moves together, score, and select until the target is met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.core.skip import match_skip, names_of_parameters
from featherweight.core.trace import Example, trace
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.calibration import Calibration
from featherweight.structured.axes import Frozen, Tracing, trace_axes
from featherweight.structured.cut import Cut, cut_of
from featherweight.structured.gradients import Loss, gradients_over
from featherweight.structured.groups import Group, find_groups
from featherweight.structured.importance import Context, Importance, UnitScores, importance_of
from featherweight.structured.selection import SCOPES, Floors, Ranking
from featherweight.structured.target import Clock, Reaching, Target, Whole


@dataclass(frozen=True)
class Selecting:
    """How units are ranked and which are left alone; see ``prune_structured``.

    Raises:
        SettingError: there is no such scope, or a setting has the wrong type.
        UnknownNameError: there is no such criterion.
    """

    criterion: str | Importance = "l2"
    scope: str = "global"
    skip: Sequence[str] = ()
    floors: Floors = field(default_factory=Floors)
    data: Iterable[Any] | None = None
    loss: Loss = F.cross_entropy
    clock: Clock | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise SettingError(f"scope is one of {', '.join(SCOPES)}, got {self.scope!r}.")
        skip: Any = self.skip
        if not isinstance(skip, Sequence) or not all(isinstance(pattern, str) for pattern in skip):  # pyright: ignore
            raise SettingError(f"skip is a sequence of names or patterns, () for none, got {skip!r}.")
        if self.clock is not None and not callable(self.clock):
            raise SettingError(f"clock is a function (module) -> seconds, got {self.clock!r}.")
        if not callable(self.importance):
            raise SettingError(
                f"criterion is a name or a function (group, context) -> scores, got {self.criterion!r}."
            )

    @property
    def importance(self) -> Importance:
        """The criterion as a callable."""
        return importance_of(self.criterion)


@dataclass(frozen=True, eq=False)
class Choice:
    """What is to go.

    Attributes:
        cut: the units that go.
        groups: all groups of the network.
        left_alone: names of those that were not to be cut.
        reaching: compares the result with the target.
        predicted: the fraction that the cut leaves.
    """

    cut: Cut
    groups: tuple[Group, ...]
    left_alone: tuple[str, ...]
    reaching: Reaching
    predicted: float

    def of_now(self, model: nn.Module, example: Example) -> Choice:
        """Return the same choice for ``model`` as it is now, trained since."""
        tracing = trace_axes(trace(model, example))
        return replace(self, cut=cut_of(tracing, self.cut.stored), groups=find_groups(tracing))


def choose(
    model: nn.Module, example: Example, target: Target, how: Selecting, whole: Whole | None = None
) -> Choice:
    """Return what is to go from ``model``, which is not changed.

    Args:
        model: the network.
        example: inputs.
        target: what to reach.
        how: how units are ranked, and which are left alone.
        whole: what the target is a fraction of: the network before blocks were removed; None: ``model``.

    Raises:
        SettingError: the target cannot be reached; says how far it gets.
        TraceError: torch.export cannot trace the model.
        ModelError: there is nothing to cut.
    """
    tracing = trace_axes(trace(model, example))
    every = find_groups(tracing)
    left_alone = skipped_groups(model, every, how.skip)
    groups = [group for group in every if group.name not in left_alone]
    if whole is not None:
        nothing = Ranking(tracing, groups, [np.zeros(len(group)) for group in groups])
        reaching = Reaching(target, nothing, example, how.clock, whole)
        if reaching.is_met:
            cut = Cut(tracing, ())
            return Choice(cut, every, left_alone, reaching, reaching.predicted(cut))
    if not groups:
        raise ModelError(_nothing_to_cut(tracing.frozen, left_alone))
    ranking = rank(model, tracing, groups, how)
    reaching = Reaching(target, ranking, example, how.clock, whole)
    cut = reaching.choose()
    return Choice(cut, every, left_alone, reaching, reaching.predicted(cut))


def rank(model: nn.Module, tracing: Tracing, groups: Sequence[Group], how: Selecting) -> Ranking:
    """Return the units of ``groups`` with their importance."""
    context = Context(
        model,
        dict(model.named_parameters()),
        lambda: gradients_over(model, how.data, how.loss),
        how.seed,
        how.data if how.data is None or how.loss is F.cross_entropy else Calibration.of(how.data, how.loss),
    )
    scores = [_checked(how.importance(group, context), group) for group in groups]
    return Ranking(tracing, groups, scores, how.scope, how.floors)


def skipped_groups(model: nn.Module, groups: Sequence[Group], skip: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the groups left alone; raises SettingError if a pattern matches nothing."""
    patterns = match_skip(skip, names_of_parameters(model))
    return tuple(g.name for g in groups if any(place.tensor in patterns for place in g.places))


def _checked(scores: Any, group: Group) -> UnitScores:
    found = scores.detach().cpu().numpy() if isinstance(scores, Tensor) else scores
    try:
        checked = np.asarray(found, np.float64)
    except (TypeError, ValueError):
        checked = np.empty(0)
    if checked.shape != (len(group),) or not np.isfinite(checked).all():
        raise SettingError(
            f"A criterion returns a finite number for each unit, {len(group)} in group {group.name!r}; got "
            f"{_described(checked) if checked.size else repr(scores)}."
        )
    return checked


def _described(scores: UnitScores) -> str:
    wrong = int((~np.isfinite(scores)).sum())
    return f"an array of shape {scores.shape}" + (f", {wrong} of them NaN or infinite" if wrong else "")


def _nothing_to_cut(frozen: Sequence[Frozen], left_alone: Sequence[str]) -> str:
    places = [f"{f.place.tensor}[{f.place.dim}]: {next(iter(f.reasons), '?')}" for f in frozen[:5]]
    asked = f" Left alone on request: {', '.join(left_alone[:5])}." if left_alone else ""
    cannot = "; ".join(places) or "no dimension"
    return f"There is nothing to cut in this network.{asked} Cannot be cut: {cannot}."
