"""A Pruner in somebody else's training loop: made from what the user gave, and begun as the loop begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import signature
from typing import Any

from torch import nn
from torch.optim import Optimizer

from featherweight.core.prunable import unwrap
from featherweight.errors import ResumeError, SettingError
from featherweight.sparsity.calibration import check_rereadable
from featherweight.sparsity.pruner import Pruner
from featherweight.sparsity.recipe import Recipe
from featherweight.sparsity.schedules import schedule_of


class Lent:
    """The Pruner of a callback: the user's own, or one that is made of settings once the network is known."""

    def __init__(self, pruner: Pruner | None, settings: Mapping[str, Any]) -> None:
        """Check the settings.

        Raises:
            SettingError: both or something else than a Pruner were given, or a setting is wrong.
        """
        if pruner is not None and (settings or not isinstance(pruner, Pruner)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingError(
                f"PrunerCallback takes a fw.Pruner, or the settings of one (sparsity=0.9, schedule='cubic', "
                f"...); got {type(pruner).__name__} and {', '.join(settings) or 'no settings'}."
            )
        self._own, self._settings = pruner is None, dict(settings)
        self._pruner = pruner
        _check(settings)

    @property
    def pruner(self) -> Pruner:
        """The Pruner; raises SettingError before the network is known."""
        if self._pruner is None:
            raise SettingError("There is no Pruner before training begins: it is made of the network then.")
        return self._pruner

    @property
    def is_made(self) -> bool:
        """Whether there is a Pruner yet."""
        return self._pruner is not None

    def begin(
        self,
        model: nn.Module,
        total_steps: int | None,
        optimizers: Sequence[Optimizer],
        saved: Mapping[str, Any] | None = None,
    ) -> Pruner:
        """Attach the Pruner for a run.

        Args:
            model: the network, of which a Pruner is made where the user gave none.
            total_steps: optimizer steps of the run; None: it has no end.
            optimizers: of the run.
            saved: what ``state`` returned in the run that is resumed; None: this one starts.

        Raises:
            SettingError: the schedule does not fit the run.
            ModelError: there is nothing to prune, or no optimizer holds it.
            ResumeError: the state is of a Pruner with other settings.
        """
        if self._own and (self._pruner is None or unwrap(self._pruner.model) is not unwrap(model)):
            self._pruner = Pruner(model, **self._settings)
        pruner = self.pruner
        pruner.detach()
        _plan(pruner, total_steps, resumes=saved is not None)
        if saved is not None:
            _restore(pruner, saved)
        pruner.attach(*_holders_first(pruner, optimizers))
        return pruner

    def state(self) -> dict[str, Any]:
        """Return the settings in words and the state of the Pruner."""
        return {"fingerprint": self.pruner.fingerprint(), "state": self.pruner.state_dict()}


def _check(settings: Mapping[str, Any]) -> None:
    """Refuse what can be refused of the settings of a Pruner without a network."""
    names = [name for name in signature(Pruner).parameters if name != "model"]
    if unknown := sorted(settings.keys() - set(names)):
        raise SettingError(f"A Pruner has no setting {unknown[0]!r}. There are: {', '.join(names)}.")
    axes = {field.name: settings[field.name] for field in fields(Recipe) if field.name in settings}
    Recipe(**axes).check_data(settings.get("data"))
    check_rereadable(settings.get("data"))
    schedule_of(settings.get("schedule", "cubic"))


def _plan(pruner: Pruner, total_steps: int | None, resumes: bool) -> None:
    if total_steps is not None:
        pruner.plan(total_steps)
        done = 0 if resumes else pruner.step  # of a run before
        pruner.schedule.check_fits(done + total_steps)
    elif not pruner.schedule.is_planned:
        raise SettingError(
            f"{pruner.schedule} is in fractions of a run, and this run has no end. Give the schedule steps, "
            f"or the trainer a number of epochs or steps."
        )


def _restore(pruner: Pruner, saved: Mapping[str, Any]) -> None:
    before, now = str(saved["fingerprint"]), pruner.fingerprint()
    if before != now:
        raise ResumeError(
            f"The checkpoint is of another pruning: it was {before[:300]!r} and is {now[:300]!r} now."
        )
    pruner.load_state_dict(saved["state"])


def _holders_first(pruner: Pruner, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
    """Return the optimizers, those that hold prunable weights first: the first one's steps count."""
    weights = {id(weight.tensor) for weight in pruner.prunable.weights}

    def holds(optimizer: Optimizer) -> bool:
        return any(id(p) in weights for group in optimizer.param_groups for p in group["params"])

    return sorted(optimizers, key=lambda optimizer: not holds(optimizer))
