"""Structured pruning in one call: choose what goes, verify, cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from featherweight.core.trace import Example, as_arguments, evaluating
from featherweight.errors import SurgeryError
from featherweight.structured import cost
from featherweight.structured.axes import Frozen
from featherweight.structured.choose import Choice, Loss, Selecting, choose
from featherweight.structured.cut import Cut, Kept
from featherweight.structured.graph_module import as_module
from featherweight.structured.importance import Importance
from featherweight.structured.optimizer import follow
from featherweight.structured.record import Record, remember, surgeries_of
from featherweight.structured.rewrite import rewritten
from featherweight.structured.selection import Floors
from featherweight.structured.surgery import operate
from featherweight.structured.target import Clock, Reached, Target
from featherweight.structured.verify import check, disturbed

TOLERANCE = 1e-3


@dataclass(frozen=True)
class Surgery:
    """What was cut, and what came of it.

    Attributes:
        kept: for each tensor that got smaller, the indices that stayed along each dimension.
        attributes: what was set on which module; None where the class could not stay and the rewritten
            graph was returned.
        widths: for each group its name, and how many units it had and has.
        params: number of parameters before and after.
        macs: multiply-accumulates of a forward pass on the example inputs before and after.
        reached: the target: what was asked, what the selection predicted, and what the result has.
        difference: how far the cut network was from the zeroed one, over the largest output.
        frozen: dimensions that could not be cut, and why.
        skipped: groups that were left alone on request.
    """

    kept: Mapping[str, Mapping[int, tuple[int, ...]]]
    attributes: Mapping[str, Mapping[str, Any]] | None
    widths: tuple[tuple[str, int, int], ...]
    params: tuple[int, int]
    macs: tuple[int, int]
    reached: Reached
    difference: float
    frozen: tuple[Frozen, ...]
    skipped: tuple[str, ...]

    def __str__(self) -> str:
        rows = [("parameters", *self.params), ("MACs", *self.macs), *self.widths]
        width = max(len(name) for name, _, _ in rows)
        lines = [f"{name:<{width}}  {before:>13,} → {after:>13,}" for name, before, after in rows]
        reached = self.reached
        aim = (
            f"{reached.target}: {reached.asked:.3g} at most was asked, {reached.predicted:.3g} predicted, "
            f"{reached.achieved:.3g} achieved"
        )
        return "\n".join([aim, *lines, *(f"left alone on request: {name}" for name in self.skipped)])


def prune_structured(
    model: nn.Module,
    example_inputs: Example,
    *,
    keep: float | None = None,
    params: float | None = None,
    macs: float | None = None,
    latency: float | None = None,
    clock: Clock | None = None,
    criterion: str | Importance = "l2",
    scope: str = "global",
    skip: Sequence[str] = (),
    min_keep: int = 1,
    round_to: int = 1,
    data: Iterable[Any] | None = None,
    loss: Loss = F.cross_entropy,
    optimizer: Optimizer | None = None,
    seed: int = 0,
) -> tuple[nn.Module, Surgery]:
    """Remove the least important channels, heads and features of ``model``, and return what is left.

    The model is cut in place and returned where its class can stay. Where sizes are written into a forward,
    the model is left as it is, and its rewritten graph is returned. Either computes the same as the model
    with what was removed set to zero: that is checked before anything is changed.

    Args:
        model: any network that torch.export can trace.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments.
        keep: fraction of each group's units to keep (with scope "group") or of all units (with "global").
        params: fraction of the parameters to keep at most.
        macs: fraction of the multiply-accumulates to keep at most.
        latency: fraction of the time of a forward pass to keep at most, measured with ``example_inputs`` and
            the threads of this process. One of the four is given, 0 < it < 1.
        clock: with ``latency``: ``(module) -> seconds`` of a forward pass, to measure it in another way.
        criterion: how much a unit matters: a name, or a callable as in structured.importance.
        scope: "global" ranks the units of all groups together, "group" cuts each group alike.
        skip: names or patterns of parameters and modules whose groups are left alone.
        min_keep: units that each group keeps at least.
        round_to: groups keep multiples of this many units.
        data: batches ``(inputs, targets)`` for criteria that look at gradients.
        loss: ``(outputs, targets) -> scalar`` for those.
        optimizer: of the model's parameters: its state is cut too, and it goes on with what is returned.
        seed: seed of everything random.

    Raises:
        SettingError: a setting is wrong, or the target cannot be reached; says how far it gets.
        TraceError: torch.export cannot trace the model.
        ModelError: there is nothing to cut.
        SurgeryError: the cut network is not the same as the zeroed one; the model is not changed.
    """
    target = Target.of(keep=keep, params=params, macs=macs, latency=latency)
    how = Selecting(criterion, scope, skip, Floors(min_keep, round_to), data, loss, clock, seed)
    return perform(model, example_inputs, choose(model, example_inputs, target, how), optimizer)


def perform(
    model: nn.Module, example: Example, chosen: Choice, optimizer: Optimizer | None = None
) -> tuple[nn.Module, Surgery]:
    """Verify and do what was chosen; the model is not changed if it cannot be done."""
    cut, tracing = chosen.cut, chosen.cut.tracing
    difference = _verified(model, cut, example)
    before, after = Cut(tracing, ()), cut
    parameters = dict(model.named_parameters())
    fitted = operate(model, cut, example)
    result = model if fitted is not None else as_module(cut, model, example)
    record = Record.of(cut, None if fitted is None else fitted.attributes, example)
    remember(result, (*surgeries_of(model), record))
    if optimizer is not None:
        follow(optimizer, parameters, result, cut)
    return result, Surgery(
        kept={name: {d: _indices(kept) for d, kept in dims.items()} for name, dims in cut.stored.items()},
        attributes=None if fitted is None else fitted.attributes,
        widths=tuple((g.name, len(g), int((~np.isin(g.units, cut.removed)).sum())) for g in chosen.groups),
        params=(cost.params(before), cost.params(after)),
        macs=(cost.macs(before), cost.macs(after)),
        reached=chosen.reaching.reached(chosen.predicted, result),
        difference=difference,
        frozen=tracing.frozen,
        skipped=chosen.left_alone,
    )


def _verified(model: nn.Module, cut: Cut, example: Example) -> float:
    """Return how far the cut network is from the zeroed one; nothing of the model is changed."""
    args, kwargs = as_arguments(example)
    with disturbed(model), evaluating(model):
        small = rewritten(cut)
        found = check(cut, small, *args, **kwargs), check(cut, small, *_others(args), **_others(kwargs))
    worst = max(found)
    if not worst < TOLERANCE:
        raise SurgeryError(
            f"The cut network differs from the same network with those channels zeroed, by {worst:.2g} of "
            f"the largest output, more than {TOLERANCE:g}. The model is not changed. A dimension rule must "
            f"be wrong: please report the network, and leave parts out with skip= until it fits."
        )
    return worst


def _others(values: Any) -> Any:
    """Return other inputs of the same sizes: noise for floats, the entries in another order for others."""

    def other(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.is_floating_point():
            return torch.randn_like(value)
        return value.flatten()[torch.randperm(value.numel())].view(value.shape)

    return tree_map(other, values)


def _indices(kept: Kept) -> tuple[int, ...]:
    return tuple(np.flatnonzero(kept).tolist())
