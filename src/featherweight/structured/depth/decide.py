"""Which blocks go: a number, as many as reach the target, or as many as are best together with width."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from featherweight.core.trace import Example, as_arguments, evaluating, trace
from featherweight.errors import SettingError
from featherweight.structured.axes import Tracing, trace_axes
from featherweight.structured.choose import Choice, Selecting, choose, skipped_groups
from featherweight.structured.cut import Cut
from featherweight.structured.depth.blocks import Block
from featherweight.structured.depth.bypass import bypassed, exported
from featherweight.structured.depth.importance import BlockImportance, Scene, mean_loss
from featherweight.structured.depth.order import Candidates, in_order
from featherweight.structured.depth.settings import Depth
from featherweight.structured.graph_module import as_module
from featherweight.structured.groups import find_groups
from featherweight.structured.rewrite import rewritten
from featherweight.structured.selection import Ranking
from featherweight.structured.target import Reaching, Target, Whole


@dataclass(frozen=True, eq=False)
class Network:
    """A whole network, from which blocks are to be removed.

    Attributes:
        model: it.
        tracing: of it.
        whole: what a target is a fraction of.
        example: inputs.
        how: how units are ranked, and what is left alone.
    """

    model: nn.Module
    tracing: Tracing
    whole: Whole
    example: Example
    how: Selecting

    @classmethod
    def of(cls, model: nn.Module, example: Example, how: Selecting) -> Network:
        """Trace ``model``."""
        tracing = trace_axes(trace(model, example))
        groups = find_groups(tracing)
        alone = skipped_groups(model, groups, how.skip)
        units = sum(len(group) for group in groups if group.name not in alone)
        return cls(model, tracing, Whole(Cut(tracing, ()), units), example, how)

    def scene(self) -> Scene:
        """Return what criteria of depth look at: for data, a graph that takes batches of any size."""
        data, loss = self.how.data, self.how.loss
        if data is None:
            return Scene(exported(self.tracing.graph), self.example, None, loss)
        return Scene(as_module(self.whole.cut, self.model, self.example).eval(), self.example, data, loss)


@dataclass(frozen=True, eq=False)
class Decision:
    """Which blocks go.

    Attributes:
        blocks: in the order in which they were chosen.
        found: how many the network has, those that are left alone included.
        left_alone: names of blocks that were not to be removed.
    """

    blocks: tuple[Block, ...]
    found: int
    left_alone: tuple[str, ...]

    @property
    def left(self) -> float:
        """Fraction of the blocks that stays."""
        return 1 - len(self.blocks) / self.found


def decide(network: Network, target: Target | None, depth: Depth) -> Decision:
    """Return which blocks go; nothing is changed.

    Raises:
        SettingError: so many cannot go, or the target cannot be reached.
    """
    if target is None and not isinstance(depth.blocks, int):
        raise SettingError(
            f"blocks={depth.blocks!r} needs a target: give one of keep=, params=, macs=, latency=."
        )
    importance = depth.importance(network.how.data)
    candidates = Candidates.of(network.model, network.tracing.graph, depth.unit, network.how.skip)
    if isinstance(depth.blocks, int):
        candidates.check(depth.blocks)
    blocks = _chosen(network, target, depth, candidates, importance)
    found = len(candidates.blocks) + len(candidates.left_alone)
    return Decision(blocks, found, candidates.left_alone)


def _chosen(
    network: Network, target: Target | None, depth: Depth, candidates: Candidates, importance: BlockImportance
) -> tuple[Block, ...]:
    scene = network.scene()
    order = in_order(candidates, importance, scene)
    if isinstance(depth.blocks, int) or target is None:
        number = int(depth.blocks)
        blocks = tuple(itertools.islice(order, number))
        candidates.check(number if len(blocks) == number else candidates.number + 1)
        return blocks
    return (_until_met if depth.blocks == "only" else _best)(network, target, scene, order)


def _until_met(network: Network, target: Target, scene: Scene, order: Iterator[Block]) -> tuple[Block, ...]:
    """Return as many blocks as reach the target by themselves."""
    left = 1.0
    for gone in _growing(order):
        left = left_of(network, target, _without(scene, gone))
        if left <= target.fraction:
            return gone
    raise SettingError(
        f"{target} cannot be reached by removing blocks only: with all that can go, {left:.3g} is left. Use "
        f"blocks='auto' to cut channels too, or ask for less."
    )


def _best(network: Network, target: Target, scene: Scene, order: Iterator[Block]) -> tuple[Block, ...]:
    """Return the blocks without which, and with width cut to the target, the network is best."""
    found: list[tuple[float, tuple[Block, ...]]] = []
    failure: SettingError | None = None
    for gone in _growing(order):
        trial = _without(scene, gone)
        try:
            chosen = choose(trial, network.example, target, network.how, network.whole)
        except SettingError as error:  # even the floors are above the target
            failure = error
            continue
        found.append((_badness(network, scene, trial, chosen), gone))
        if not len(chosen.cut.removed):
            break  # more depth only goes further than was asked
    if not found:
        raise failure or SettingError(f"{target} cannot be reached.")
    return min(found, key=lambda pair: pair[0])[1]


def _growing(order: Iterator[Block]) -> Iterator[tuple[Block, ...]]:
    """Yield no block, the first one, the first two, ..."""
    return itertools.accumulate(order, lambda gone, block: (*gone, block), initial=tuple[Block, ...]())


def left_of(network: Network, target: Target, small: nn.Module) -> float:
    """Return the fraction of the target's quantity that is left in ``small``, of the whole network's."""
    tracing = trace_axes(trace(small, network.example))
    groups = find_groups(tracing)
    alone = skipped_groups(small, groups, network.how.skip)
    groups = [group for group in groups if group.name not in alone]
    reaching = Reaching(
        target, Ranking(tracing, groups, ()), network.example, network.how.clock, network.whole
    )
    return reaching.predicted(Cut(tracing, ()))


def _without(scene: Scene, gone: Sequence[Block]) -> torch.fx.GraphModule:
    return bypassed(scene.network, [bypass for block in gone for bypass in block.bypasses])


def _badness(network: Network, scene: Scene, trial: nn.Module, chosen: Choice) -> float:
    """Return the loss on the data, or how far the outputs are from the whole network's, over their size."""
    if scene.data is not None:
        return mean_loss(as_module(chosen.cut, trial, network.example).eval(), scene)
    args, kwargs = as_arguments(network.example)
    small = rewritten(chosen.cut)
    with evaluating(network.model):
        pairs = zip(
            tree_leaves(network.model(*args, **kwargs)), tree_leaves(small(*args, **kwargs)), strict=True
        )
    return sum(
        float((a - b).norm() / a.norm().clamp_min(1e-30))
        for a, b in pairs
        if isinstance(a, torch.Tensor) and a.is_floating_point()
    )
