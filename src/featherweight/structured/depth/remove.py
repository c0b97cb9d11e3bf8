"""Blocks are taken out of a network, verified: in its class where that can stay, else as a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from featherweight.core.trace import Example, evaluating, trace
from featherweight.errors import FeatherweightError, SurgeryError
from featherweight.structured import cost
from featherweight.structured.axes import Tracing
from featherweight.structured.cut import Cut
from featherweight.structured.depth.blocks import Block
from featherweight.structured.depth.bypass import Bypass, apply, bypassed, delete, exported, tensors_without
from featherweight.structured.depth.places import places_of
from featherweight.structured.depth.reference import Bypassing, distance
from featherweight.structured.depth.skipped import Standing, put, put_back
from featherweight.structured.graph_module import RewrittenModule, as_module
from featherweight.structured.verify import disturbed

TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Removal:
    """A network without some of its blocks.

    Attributes:
        model: it: the same object where its class can stay.
        blocks: what went.
        places: what stands where in its class; None where the rewritten graph is the result.
        difference: how far it was from the whole network with the blocks bypassed, over the largest output.
    """

    model: nn.Module
    blocks: tuple[Block, ...]
    places: Mapping[str, Standing] | None
    difference: float
    _before: Mapping[str, nn.Module] = field(default_factory=dict[str, nn.Module])

    def undo(self) -> None:
        """Put the blocks back into the network."""
        put_back(self.model, self._before)


def remove(model: nn.Module, tracing: Tracing, blocks: Sequence[Block], example: Example) -> Removal:
    """Return ``model`` without ``blocks``.

    Args:
        model: the network; it is changed where its class can stay.
        tracing: of it.
        blocks: what goes.
        example: inputs.

    Raises:
        SurgeryError: the result is not the same as the network with the blocks bypassed; the model is not
            changed.
    """
    bypasses = [bypass for block in blocks for bypass in block.bypasses]
    graph = tracing.graph
    worst = _distance(model, bypassed(exported(graph), bypasses), tracing, bypasses, example)
    if not worst < TOLERANCE:
        raise SurgeryError(
            f"Without {', '.join(block.name for block in blocks)} the network differs from itself with those "
            f"blocks bypassed, by {worst:.2g} of the largest output, more than {TOLERANCE:g}. The model is "
            f"not changed. Please report the network, and leave the blocks in with skip=."
        )
    places = places_of(model, graph, blocks, example)
    if places is not None:
        before = put(model, places)
        found = _distance_of_class(model, tracing, bypasses, example)
        if found < TOLERANCE and not _is_wasteful(model, tracing, bypasses, example):
            return Removal(model, tuple(blocks), places, max(worst, found), before)
        put_back(model, before)
    small = without(model, tracing, blocks, example)
    return Removal(small, tuple(blocks), None, worst)


def without(model: nn.Module, tracing: Tracing, blocks: Sequence[Block], example: Example) -> RewrittenModule:
    """Return the graph of ``model``, which is not changed, without ``blocks`` and what they alone use."""
    bypasses = [bypass for block in blocks for bypass in block.bypasses]
    small = as_module(Cut(tracing, ()), model, example)
    apply(small, bypasses)
    gone = tensors_without(tracing.graph, bypasses)
    held = dict(small.named_parameters(remove_duplicate=False)) | dict(
        small.named_buffers(remove_duplicate=False)
    )
    delete(small, sorted(gone & held.keys()))
    return small


def _distance(
    model: nn.Module, small: nn.Module, tracing: Tracing, bypasses: Sequence[Bypass], example: Example
) -> float:
    """Return how far ``small`` is from the reference on the example and on other inputs."""
    reference = Bypassing(exported(tracing.graph), bypasses)
    with disturbed(model), evaluating(small):
        return max(distance(reference, small, inputs) for inputs in (example, others(example)))


def _distance_of_class(
    model: nn.Module, tracing: Tracing, bypasses: Sequence[Bypass], example: Example
) -> float:
    """Return the distance of ``model`` with some modules replaced; inf where it does not run."""
    try:
        return _distance(model, model, tracing, bypasses, example)
    except Exception:  # whatever a forward raises that looks into a module which is not there any more
        return float("inf")


def others(example: Any) -> Any:
    """Return other inputs of the same sizes: noise for floats, the entries in another order for others."""

    def other(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.is_floating_point():
            return torch.randn_like(value)
        return value.flatten()[torch.randperm(value.numel())].view(value.shape)

    return tree_map(other, example)


def _is_wasteful(model: nn.Module, tracing: Tracing, bypasses: Sequence[Bypass], example: Example) -> bool:
    """Whether the class computes what the graph without the blocks does not."""
    left = Counter(str(node.target) for node in bypassed(exported(tracing.graph), bypasses).graph.nodes)
    try:
        calls = Counter(call.op for call in trace(model, example).calls)
    except FeatherweightError:
        return True
    return any(count > left[op] for op, count in calls.items() if op in cost.formulas)
