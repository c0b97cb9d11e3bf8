"""Structured pruning in one call: choose what goes, verify, cut."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn
from torch.fx import GraphModule
from torch.nn import functional as F
from torch.optim import Optimizer

from featherweight.core.prunable import unwrap
from featherweight.core.trace import Example, as_arguments, evaluating, trace
from featherweight.errors import SettingError, SurgeryError
from featherweight.structured import cost
from featherweight.structured.axes import Frozen, trace_axes
from featherweight.structured.choose import Choice, Loss, Selecting, choose
from featherweight.structured.cut import Cut, Kept
from featherweight.structured.depth.decide import Decision, Network, decide
from featherweight.structured.depth.importance import BlockImportance
from featherweight.structured.depth.remove import Removal, others, remove
from featherweight.structured.depth.settings import Depth
from featherweight.structured.given import check_given
from featherweight.structured.graph_module import as_module
from featherweight.structured.groups import Group, find_groups
from featherweight.structured.importance import Importance
from featherweight.structured.optimizer import check_follows, follow, forget
from featherweight.structured.record import Record, remember, surgeries_of
from featherweight.structured.rewrite import rewritten
from featherweight.structured.selection import Floors
from featherweight.structured.surgery import Fitted, operate
from featherweight.structured.target import Clock, Reached, Target
from featherweight.structured.undo import unchanged_on_failure
from featherweight.structured.verify import check, disturbed
from featherweight.structured.verify import difference as outputs_differ

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
        skipped: groups and blocks that were left alone on request.
        removed_blocks: blocks that were removed whole, the least important first.
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
    removed_blocks: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [("parameters", *self.params), ("MACs", *self.macs), *self.widths]
        width = max(len(name) for name, _, _ in rows)
        lines = [f"{name:<{width}}  {before:>13,} → {after:>13,}" for name, before, after in rows]
        reached = self.reached
        aim = (
            f"{reached.target}: {reached.asked:.3g} at most was asked, {reached.predicted:.3g} predicted, "
            f"{reached.achieved:.3g} achieved"
        )
        removed = [f"removed whole: {name}" for name in self.removed_blocks]
        return "\n".join(
            [aim, *lines, *removed, *(f"left alone on request: {name}" for name in self.skipped)]
        )


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
    blocks: int | str = 0,
    block_criterion: str | BlockImportance | None = None,
    block_unit: str = "block",
) -> tuple[nn.Module, Surgery]:
    """Remove the least important channels, heads, features and blocks of ``model``, return what is left.

    The model is cut in place and returned where its class can stay. Where sizes are written into a forward,
    the model is left as it is, and its rewritten graph is returned. Either computes the same as the model
    with what was removed set to zero, or bypassed: that is checked before it is returned.

    Args:
        model: any network that torch.export can trace; of a compiled or data-parallel one, the network inside
            is cut and returned.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments.
        keep: fraction of all units to keep at most, and with scope "group" of each group's. Units are whole:
            of 5, keep=0.5 leaves 2.
        params: fraction of the parameters to keep at most.
        macs: fraction of the multiply-accumulates to keep at most.
        latency: fraction of the time of a forward pass to keep at most, measured with ``example_inputs`` and
            the threads of this process. One of the four is given, 0 < it < 1; with a number of
            ``blocks``, it may be none. All four are fractions of the network with all its blocks.
        clock: with ``latency``: ``(module) -> seconds`` of a forward pass, to measure it in another way.
        criterion: how much a unit matters: a name, or a callable as in structured.importance.
        scope: "global" ranks the units of all groups together, "group" cuts each group alike.
        skip: names or patterns of parameters and modules whose groups are left alone.
        min_keep: units that each group keeps at least.
        round_to: groups keep multiples of this many units; those with fewer units are not rounded.
        data: batches ``(inputs, targets)`` for criteria that look at gradients or, several times, the loss.
        loss: ``(outputs, targets) -> scalar`` for those.
        optimizer: of the model's parameters: its state is cut too, and it goes on with what is returned.
        seed: seed of everything random.
        blocks: how many residual blocks or transformer layers are removed whole before the width is cut to
            what is left of the target. "auto": 0, 1, ... are tried, each with the width that reaches the
            target, and the best is taken: that of the least loss on ``data``, or else with the outputs
            nearest to the network's on the example inputs. "only": as many as reach the target; no width is
            cut. A stage of several keeps one.
        block_criterion: how much a block matters: "similarity" of its input and output, "loss" (by how much
            the loss on ``data`` grows without it), or a callable as in structured.depth.importance. None:
            "loss" with ``data``, else "similarity".
        block_unit: "block": whole repeated modules; "branch": each residual branch, such as attention.

    Raises:
        SettingError: a setting is wrong, or the target cannot be reached; says how far it gets.
        TraceError: torch.export cannot trace the model.
        ModelError: there is nothing to cut.
        SurgeryError: the cut network is not the same as the zeroed one; the model is not changed.
    """
    depth = Depth(blocks, block_criterion, block_unit)
    given = {"keep": keep, "params": params, "macs": macs, "latency": latency}
    unaimed = isinstance(blocks, int) and blocks > 0 and all(value is None for value in given.values())
    target = None if unaimed else Target.of(**given)
    if target is None and clock is not None:
        raise SettingError("clock= measures latency; without latency= it would do nothing.")
    model = unwrap(model)
    check_given(model, example_inputs)
    if optimizer is not None:
        check_follows(optimizer, model)
    if depth and isinstance(data, Iterator):
        data = tuple(data)  # it is read several times
    how = Selecting(criterion, scope, skip, Floors(min_keep, round_to), data, loss, clock, seed)
    if target is not None and not depth:
        return perform(model, example_inputs, choose(model, example_inputs, target, how), optimizer)
    network = Network.of(model, example_inputs, how)
    return _with_depth(network, target, decide(network, target, depth), optimizer)


def _with_depth(
    network: Network, target: Target | None, decision: Decision, optimizer: Optimizer | None
) -> tuple[nn.Module, Surgery]:
    """Remove blocks, then cut the width to what is left of the target; all or nothing."""
    model, example = network.model, network.example
    parameters = dict(model.named_parameters())
    with without_blocks(network, decision) as removal:
        if target is None:
            result, cut, surgery = removal.model, network.whole.cut, _shallower(network, decision, removal)
        else:
            chosen = choose(removal.model, example, target, network.how, network.whole)
            cut = chosen.cut
            result, surgery = perform(removal.model, example, chosen)
        whole = network.whole.cut
        surgery = replace(
            surgery,
            attributes=None if removal.places is None else surgery.attributes,
            params=(cost.params(whole), surgery.params[1]),
            macs=(cost.macs(whole), surgery.macs[1]),
            difference=max(removal.difference, surgery.difference),
            skipped=(*decision.left_alone, *surgery.skipped),
            removed_blocks=tuple(block.name for block in decision.blocks),
        )
        if optimizer is not None:
            follow(optimizer, parameters, result, cut)
            forget(optimizer, result, parameters)
    return result, surgery


@contextmanager
def without_blocks(network: Network, decision: Decision) -> Generator[Removal]:
    """Remove blocks and note it; they are put back if what follows fails."""
    model, example = network.model, network.example
    before = surgeries_of(model)
    if not decision.blocks:
        yield Removal(model, (), {}, 0.0)
        return
    removal = remove(model, network.tracing, decision.blocks, example)
    remember(removal.model, (*before, Record.of_removal(removal.blocks, removal.places, example)))
    try:
        yield removal
    except BaseException:
        removal.undo()
        remember(model, before)
        raise


def _shallower(network: Network, decision: Decision, removal: Removal) -> Surgery:
    """Return what came of a removal of blocks alone."""
    tracing = trace_axes(trace(removal.model, network.example))
    now = Cut(tracing, ())
    left = 1 - len(decision.blocks) / decision.found
    return Surgery(
        kept={},
        attributes={},
        widths=tuple((group.name, len(group), len(group)) for group in find_groups(tracing)),
        params=(cost.params(now), cost.params(now)),
        macs=(cost.macs(now), cost.macs(now)),
        reached=Reached("blocks", left, left, left),
        difference=removal.difference,
        frozen=tracing.frozen,
        skipped=(),
    )


def perform(
    model: nn.Module, example: Example, chosen: Choice, optimizer: Optimizer | None = None
) -> tuple[nn.Module, Surgery]:
    """Verify and do what was chosen; the model is not changed if it cannot be done."""
    cut, tracing = chosen.cut, chosen.cut.tracing
    before, after = Cut(tracing, ()), cut
    parameters = dict(model.named_parameters())
    difference, small = _verified(model, cut, example) if len(cut.removed) else (0.0, None)
    with unchanged_on_failure(model):
        fitted = Fitted({}, 0) if small is None else operate(model, cut, example, small)
        result = model if fitted is not None else _as_module(cut, model, example)
        if len(cut.removed):
            record = Record.of(cut, None if fitted is None else fitted.attributes, example)
            remember(result, (*surgeries_of(model), record))
        widths = ((g.name, len(g), int((~np.isin(g.units, cut.removed)).sum())) for g in chosen.groups)
        surgery = Surgery(
            kept={name: {d: _indices(kept) for d, kept in dims.items()} for name, dims in cut.stored.items()},
            attributes=None if fitted is None else fitted.attributes,
            widths=tuple(widths),
            params=(cost.params(before), cost.params(after)),
            macs=(cost.macs(before), cost.macs(after)),
            reached=chosen.reaching.reached(chosen.predicted, result),
            difference=difference,
            frozen=tracing.frozen,
            skipped=chosen.left_alone,
        )
        if optimizer is not None:
            follow(optimizer, parameters, result, cut)
    return result, surgery


def _as_module(cut: Cut, model: nn.Module, example: Example) -> nn.Module:
    """Return the cut network as a graph that does on the example inputs what was verified."""
    result = as_module(cut, model, example)
    args, kwargs = as_arguments(example)
    with evaluating(result):
        found = outputs_differ(rewritten(cut)(*args, **kwargs), result(*args, **kwargs))
    if not found < TOLERANCE:
        raise SurgeryError(
            f"The graph of the cut network differs from what was verified by {found:.2g} of the largest "
            f"output. The model is not changed. Please report the network."
        )
    return result


def _verified(model: nn.Module, cut: Cut, example: Example) -> tuple[float, GraphModule]:
    """Return how far the cut network, disturbed, is from the zeroed one, and it; the model is not changed."""
    args, kwargs = as_arguments(example)
    with disturbed(model), evaluating(model):
        small = rewritten(cut)
        worst = check(cut, small, example, others(kwargs or args))
        wrong = [] if worst < TOLERANCE else _wrong_groups(cut, example)
    if not worst < TOLERANCE:
        raise SurgeryError(
            f"The cut network differs from the same network with those channels zeroed, by {worst:.2g} of "
            f"the largest output, more than {TOLERANCE:g}. The model is not changed. A dimension rule must "
            f"be wrong{_for_these(wrong)}. Please report the network, and leave parts out with skip= until "
            f"it fits."
        )
    return worst, small


def _wrong_groups(cut: Cut, example: Example, most: int = 50) -> list[Group]:
    """Return the groups that cannot be cut right even by themselves."""
    groups = [group for group in find_groups(cut.tracing) if np.isin(group.units, cut.removed).any()]
    wrong: list[Group] = []
    for group in groups[:most]:
        alone = Cut(cut.tracing, group.units[np.isin(group.units, cut.removed)].tolist())
        if not check(alone, rewritten(alone), example) < TOLERANCE:
            wrong.append(group)
    return wrong


def _for_these(groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    places = ", ".join(f"{place.tensor}[{place.dim}]" for place in groups[0].places[:4])
    more = f", and {len(groups) - 1} more groups" if len(groups) > 1 else ""
    return f" for group {groups[0].name!r}, which is cut together in {places}{more}"


def _indices(kept: Kept) -> tuple[int, ...]:
    return tuple(np.flatnonzero(kept).tolist())
