"""A criterion that learns while training, and what it is shown of each optimizer step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer

from featherweight.sparsity.criteria import Context, Criterion, Scores, criteria
from featherweight.sparsity.step_gradients import Parameters, before_use, gradient_of


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

    def __init__(self, criterion: LearningCriterion, parameters: Parameters) -> None:
        """Take a fresh criterion, and the parameters of each weight to show it."""
        self.criterion = criterion
        self._names = {id(each): name for name, several in parameters.items() for each in several}

    def watch(self, optimizer: Optimizer) -> Any:
        """Show the steps of ``optimizer`` from now on; return the handle of the hook."""
        return before_use(optimizer, lambda: self._show(optimizer))

    def _show(self, optimizer: Optimizer) -> None:
        for group in optimizer.param_groups:
            found: dict[str, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if (name := self._names.get(id(parameter))) is not None:
                    found.setdefault(name, []).append(parameter)
            if found:
                weights = {name: _as_one(several) for name, several in found.items()}
                self.criterion.observe(weights, _rate(optimizer, group))


def _as_one(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the weight over whose memory ``parameters`` are, with the sum of their gradients."""
    if len(parameters) == 1:
        return parameters[0]
    weight = parameters[0].detach()
    weight.grad = gradient_of(parameters)
    return weight


def _rate(optimizer: Optimizer, group: Mapping[str, Any]) -> float:
    """Return the learning rate, divided by what a GradScaler left the gradients multiplied by."""
    scale = getattr(optimizer, "grad_scale", None)
    return float(group["lr"]) / (1.0 if scale is None else float(scale))
