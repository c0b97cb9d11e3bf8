"""Pruning while training: a recipe, a schedule, and the hook that keeps zeros zero."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from featherweight.core.hold import Held
from featherweight.core.mask import Mask
from featherweight.core.masks import Masks
from featherweight.core.prunable import find_prunable
from featherweight.errors import MaskError, ModelError, ResumeError, SettingError
from featherweight.sparsity.allocation import AllocationLike
from featherweight.sparsity.calibration import check_rereadable
from featherweight.sparsity.criteria import Criterion
from featherweight.sparsity.growth import Mover, counts_of, forget
from featherweight.sparsity.observing import Observer, learner_of
from featherweight.sparsity.patterns import Pattern
from featherweight.sparsity.recipe import Recipe
from featherweight.sparsity.replicas import Replicas
from featherweight.sparsity.same_memory import check_memory
from featherweight.sparsity.schedules import Growth, Schedule, schedule_of
from featherweight.sparsity.step_gradients import StepGradients, before_use, is_skipped, parameters_of


class Pruner:
    """Prunes a network while it trains, and keeps its zeros zero.

    >>> pruner = fw.Pruner(model, sparsity=0.9, schedule=fw.schedules.Cubic(begin=0, end=1000, every=50))
    >>> pruner.attach(optimizer)
    >>> ...  # the training loop, unchanged
    >>> pruner.detach()

    The masks are applied by a hook that runs after each optimizer step, so momentum and weight decay
    cannot bring a weight back. Steps that the optimizer does not take (accumulation, a skipped AMP
    step) do not count. Weights come back with schedules that grow them (SET, RigL, AC/DC), from zero and
    without what the optimizer remembered of them. In several processes that train copies of the network
    (DDP), the masks of the first one are those of all.
    """

    def __init__(
        self,
        model: nn.Module,
        sparsity: float = 0.9,
        *,
        criterion: str | Criterion = "magnitude",
        allocation: AllocationLike = "global",
        pattern: str | Pattern = "unstructured",
        schedule: str | Schedule = "cubic",
        data: Any = None,
        skip: Sequence[str] = (),
        seed: int = 0,
        masks: Masks | None = None,
    ) -> None:
        """Check the settings; the model is not changed before ``attach``.

        Args:
            model: the network that is trained, wrapped (DDP, torch.compile) or not.
            sparsity: fraction of the prunable weights to be zero at the end, 0 <= sparsity < 1.
            criterion: how much a weight matters: a name, or a callable as in sparsity.criteria.
            allocation: how many weights each layer keeps: a name, a callable, or ``{name or pattern:
                sparsity}`` for some layers. One that looks at the model does so when the pruner is attached.
            pattern: the shapes that zeros may have: a name such as "2:4", "1x4" or "per_output", or an object
                or function as in sparsity.patterns.
            schedule: when: a name, or a ``fw.schedules`` object. One with fractions needs ``plan``.
            data: handed to criteria and allocations that look at data.
            skip: names or patterns of parameters and modules to leave alone.
            seed: seed of everything random.
            masks: what is pruned already, such as ``Masks.from_zeros(model)``; it stays pruned, also with
                schedules that grow weights.

        Raises:
            SettingError: a setting is wrong, ``skip`` matches nothing, or the criterion or the allocation
                looks at data and there are none, or some that can be read only once.
            ModelError: there is nothing to prune, or a weight shares a part of its memory with others.
        """
        self.recipe = Recipe(sparsity, criterion, allocation, pattern, skip, seed)
        self._in_words = str(self.recipe)
        self.schedule = schedule_of(schedule)
        self.model, self.data = model, data
        self.recipe.check_data(data)
        check_rereadable(data)
        self.prunable = find_prunable(model, self.recipe.skip)
        check_memory(model, self.prunable)
        self._parameters = parameters_of(self.prunable, model)
        self.step, self._updated = 0, -1  # after how many steps masks were computed last
        self.masks = self._never = self._starting_from(masks)
        self._initial = self.masks.sparsity
        self._counts = {name: mask.kept for name, mask in self.masks.items()}
        self.recipe.check_reachable(self.masks, self.prunable)
        self._check_growth()
        self._observer: Observer | None = None
        if (learner := learner_of(criterion)) is not None:
            self._observer = Observer(learner, self._parameters)
            self.recipe = replace(self.recipe, criterion=learner)
        self._gradients = StepGradients(self._parameters)
        self._replicas = Replicas()
        self._held: list[Held] = []
        self._handles: list[Any] = []
        self._optimizers: list[Optimizer] = []

    def _starting_from(self, masks: Masks | None) -> Masks:
        everything = {
            w.name: Mask(torch.ones_like(w.tensor, dtype=torch.bool)) for w in self.prunable.weights
        }
        if masks is None:
            return Masks(everything, self.prunable.left_alone)
        masks.bind(self.model)
        if unknown := sorted(masks.keys() - everything.keys()):
            raise MaskError(f"masks= covers weights that are left alone here: {', '.join(unknown[:5])}.")
        return Masks(everything | dict(masks), self.prunable.left_alone)

    def _check_growth(self) -> None:
        if self.schedule.grows and self._never.kept <= round((1 - self.recipe.sparsity) * self._never.numel):
            raise SettingError(
                f"Nothing could grow: masks= prunes {self._never.sparsity:.2%}, all that is asked for, and "
                f"that stays pruned also with {self.schedule}. Leave masks= out: zeros are the smallest "
                f"weights, and are pruned first."
            )

    @property
    def sparsity(self) -> float:
        """Sparsity of the prunable weights now, 0..1."""
        return self.masks.sparsity

    @property
    def ready(self) -> bool:
        """Whether the network is as sparse as asked."""
        return self.schedule.ready_at(self.step)

    def plan(self, total_steps: int) -> None:
        """Turn a schedule given in fractions into steps of a run of ``total_steps`` optimizer steps."""
        if not self._handles:
            self.schedule = self.schedule.planned(total_steps)

    def attach(self, optimizer: Optimizer, *others: Optimizer) -> None:
        """Prune from now on as ``optimizer`` steps; with a schedule that begins at 0, at once too.

        What the masks prune already is zero from now on, also if it was trained since ``detach``.

        Where torch.distributed is initialised, all processes attach together, and share masks if the model is
        wrapped in DDP or has the same weights in all of them now; if neither, each goes by itself.

        Args:
            optimizer: its steps are those that the schedule counts.
            others: further optimizers that hold weights of the model; zeros are held after their steps too.

        Raises:
            SettingError: the schedule is in fractions and was not planned; or already attached.
            ModelError: the optimizer holds none of the prunable weights.
        """
        inner, *further = (_inner(each) for each in (optimizer, *others))
        if self._handles:
            raise SettingError("The pruner is attached already. detach() it first.")
        if not self.schedule.is_planned:
            raise SettingError(
                f"{self.schedule} is in fractions of a run: call pruner.plan(total_steps) first."
            )
        held = {id(p) for each in (inner, *further) for group in each.param_groups for p in group["params"]}
        if not any(id(each) in held for several in self._parameters.values() for each in several):
            raise ModelError(
                "The optimizer holds none of the weights to prune. Make it from model.parameters() of the "
                "model that the pruner was given, after moving that model to its device."
            )
        self.recipe = self.recipe.prepared(self.recipe.context(self.model, self.data))
        self._replicas = Replicas.of(self.model, self.prunable)
        self._held = _held(self.masks, self.model)
        if self.schedule.updates_at(self.step) and self._updated != self.step:
            self._update()
        else:
            self._hold()
        self._optimizers = [inner, *further]
        self._handles = [before_use(inner, self._keep_gradients)]
        if self._observer is not None:
            self._handles += [self._observer.watch(each) for each in self._optimizers]
        self._handles.append(inner.register_step_post_hook(self._after_step))
        self._handles += [each.register_step_post_hook(self._after_step_of_another) for each in further]

    def detach(self) -> None:
        """Stop pruning and stop holding zeros; masks stay in ``self.masks``."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._optimizers = [], []

    def _keep_gradients(self) -> None:
        growth = None if self.schedule.updates_at(self.step + 1) else self.schedule.growth_at(self.step + 1)
        if growth is not None and growth.by == "gradient":
            self._gradients.keep()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if is_skipped(optimizer):
            return
        self.step += 1
        if self.schedule.updates_at(self.step):
            self._update()
        elif (growth := self.schedule.growth_at(self.step)) is not None:
            self._move(growth)
        else:
            self._hold()

    def _after_step_of_another(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._hold()

    def _hold(self) -> None:
        if not all(weight.fits for weight in self._held):  # model.to(...) since
            self._held = _held(self.masks, self.model)
        for weight in self._held:
            weight.zero_()

    def _update(self) -> None:
        target = self.schedule.sparsity_at(self.step, self.recipe.sparsity, self._initial)
        self._hold()
        before = self._never if self.schedule.refills else self.masks
        if target <= self._initial and target < self.recipe.sparsity:
            self._adopt(before)  # nothing is pruned yet, or nothing any more
        else:
            masks = self.recipe.masks(self.model, self.prunable, target, data=self.data, before=before)
            self._adopt(self._replicas.shared(masks))
        wanted = round((1 - target) * self.masks.numel)
        self._counts = counts_of(self.masks, self._never, wanted)
        self._updated = self.step

    def _move(self, growth: Growth) -> None:
        self._hold()
        mover = Mover(self.recipe, self.model, self.prunable, self._never, self._gradients)
        masks = mover.moved(self.masks, self._counts, growth, self.step)
        self._gradients.drop()
        self._adopt(self._replicas.shared(masks))

    def _adopt(self, masks: Masks) -> None:
        """Hold ``masks`` from now on; what they let grow starts at zero, unknown to the optimizers."""
        for weight in self.prunable.weights if self.schedule.grows else ():
            keep = masks[weight.name].keep
            grown = keep & ~self.masks[weight.name].keep.to(keep.device)
            forget(self._optimizers, self._parameters[weight.name], grown)
        self.masks = masks
        self._held = _held(self.masks, self.model)
        self._hold()

    def fingerprint(self) -> str:
        """Return the settings in words, the same in every process: pruners with the same ones do the same."""
        return re.sub(r" at 0x[0-9a-fA-F]+", "", f"{self._in_words} {self.schedule} {self._initial}")

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs to go on, as plain tensors and numbers.

        That is the step, the masks, how many weights each layer keeps while masks move, the masks given at
        the start where they prune anything, and what the criterion has learned.
        """
        state: dict[str, Any] = {
            "step": self.step,
            "updated": self._updated,
            "initial": self._initial,
            "keep": {name: mask.keep.clone() for name, mask in self.masks.items()},
            "counts": dict(self._counts),
            "never": {name: m.keep.clone() for name, m in self._never.items() if m.kept < m.numel},
        }
        if self._observer is not None:
            state["criterion"] = copy.deepcopy(self._observer.criterion.state_dict())
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``; the masks are applied at once.

        Raises:
            MaskError: the state is of a pruner of other weights.
            ResumeError: the criterion learns, and the state has nothing of it.
        """
        if state["keep"].keys() != self.masks.keys():
            differing = sorted(state["keep"].keys() ^ self.masks.keys())
            raise MaskError(
                f"The saved pruner has masks of other weights; differing: {', '.join(differing[:5])}."
            )
        if self._observer is not None and "criterion" not in state:
            raise ResumeError(f"The saved pruner had another criterion than {self._observer.criterion}.")
        masks, never = self._masks_in(state["keep"]), self._masks_in(state.get("never", {}))
        held = _held(masks, self.model)
        if self._observer is not None:
            self._observer.criterion.load_state_dict(copy.deepcopy(state["criterion"]))
        self.masks, self._never = masks, never
        self._counts = dict(state["counts"]) if "counts" in state else {n: m.kept for n, m in masks.items()}
        self.step, self._initial = int(state["step"]), float(state["initial"])
        self._updated = int(state.get("updated", -1))
        self._held = held
        self._hold()

    def _masks_in(self, saved: Mapping[str, Tensor]) -> Masks:
        """Return saved masks; a weight that is not among them is kept whole."""
        whole = {name: torch.ones_like(mask.keep) for name, mask in self.masks.items()}
        keep = whole | dict(saved)
        return Masks({name: Mask(keep[name]) for name in whole}, self.prunable.left_alone)


def _inner(optimizer: Optimizer) -> Optimizer:
    return getattr(optimizer, "optimizer", optimizer)  # Accelerate wraps the optimizer


def _held(masks: Masks, model: nn.Module) -> list[Held]:
    return [Held.of(weight, pruned) for weight, pruned in masks.bind(model) if bool(pruned.any())]
