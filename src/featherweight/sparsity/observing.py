"""A criterion that learns while training, and what it is shown of each optimizer step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torch.optim import Optimizer

from featherweight.core.prunable import Prunable
from featherweight.sparsity.criteria import Context, Criterion, Scores, criteria


@runtime_checkable
class LearningCriterion(Protocol):
    """A criterion whose scores come of the steps that it was shown."""

    def fresh(self) -> LearningCriterion:
        """Return one with the same settings that has seen nothing."""
        ...

    def observe(self, weights: Mapping[str, Tensor], rate: float) -> None:
        """Learn of the step that is about to be taken; ``.grad`` of the weights are its gradients.

        Args:
            weights: by name, as they are before the step; those of one parameter group.
            rate: the learning rate of the group.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what was learned, as tensors, numbers and strings."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Go on from ``state``."""
        ...

    def __call__(self, weights: Mapping[str, Tensor], context: Context, /) -> Scores:
        """Return the scores."""
        ...


def learner_of(criterion: str | Criterion) -> LearningCriterion | None:
    """Return a fresh one of a criterion that learns; None if it does not."""
    found = criteria[criterion] if isinstance(criterion, str) else criterion
    return found.fresh() if isinstance(found, LearningCriterion) else None


class Observer:
    """Shows a criterion the steps of optimizers."""

    def __init__(self, criterion: LearningCriterion, prunable: Prunable) -> None:
        """Take a fresh criterion, and the weights to show it."""
        self.criterion = criterion
        self._names = {id(weight.tensor): weight.name for weight in prunable.weights}
        self._waiting: list[tuple[dict[str, Tensor], dict[str, Tensor], float]] = []

    def watch(self, optimizer: Optimizer) -> list[Any]:
        """Show the steps of ``optimizer`` from now on; return the handles of the hooks."""
        before = optimizer.register_step_pre_hook(self._before_step)
        return [before, optimizer.register_step_post_hook(self._after_step)]

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Show the weights; keep copies instead where the step itself computes the gradients (a closure)."""
        self._waiting = []
        if is_skipped(optimizer):
            return
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        for group in optimizer.param_groups:
            weights = {self._names[id(p)]: p for p in group["params"] if id(p) in self._names}
            if weights and closure is None:
                self.criterion.observe(weights, _rate(optimizer, group))
            elif weights:
                copies = {name: weight.detach().clone() for name, weight in weights.items()}
                self._waiting.append((weights, copies, _rate(optimizer, group)))

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for weights, copies, rate in self._waiting:
            for name, copy in copies.items():
                copy.grad = weights[name].grad
            self.criterion.observe(copies, rate)
        self._waiting = []


def is_skipped(optimizer: Optimizer) -> bool:
    """Return whether the step does nothing: a GradScaler leaves it to fused optimizers to skip."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def _rate(optimizer: Optimizer, group: Mapping[str, Any]) -> float:
    """Return the learning rate, divided by what a GradScaler left the gradients multiplied by."""
    scale = getattr(optimizer, "grad_scale", None)
    return float(group["lr"]) / (1.0 if scale is None else float(scale))
