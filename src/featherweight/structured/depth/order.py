"""In which order blocks go: the least important first, measured again after each removal.

A stage of several blocks keeps one. The blocks of a stage that cannot go, such as one that changes the number
of channels, count as kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from featherweight.core.skip import match_skip, names_of_parameters
from featherweight.core.trace import Graph
from featherweight.errors import SettingError
from featherweight.structured.depth.blocks import Block, find_blocks
from featherweight.structured.depth.bypass import is_used
from featherweight.structured.depth.importance import BlockImportance, Scene


@dataclass(frozen=True, eq=False)
class Candidates:
    """The blocks of a network that may go.

    Attributes:
        graph: of the network.
        blocks: those that may go, in the order of the graph.
        left_alone: names of those that are not to be removed.
        most: how many of each stage may go.
    """

    graph: Graph
    blocks: tuple[Block, ...]
    left_alone: tuple[str, ...]
    most: Mapping[str, int]

    @classmethod
    def of(cls, model: nn.Module, graph: Graph, unit: str, skip: Sequence[str]) -> Candidates:
        """Return those of ``model``; raises SettingError if a pattern of ``skip`` matches nothing."""
        patterns = match_skip(skip, names_of_parameters(model))
        every = find_blocks(model, graph, unit)
        left_alone = tuple(block.name for block in every if block.tensors & patterns.keys())
        free = tuple(block for block in every if block.name not in left_alone)
        stages = Counter(block.stage for block in every)
        free_of = Counter(block.stage for block in free)
        most = {
            stage: free_of[stage] - (free_of[stage] == count > 1 and not _others_stay(model, every, stage))
            for stage, count in stages.items()
        }
        return cls(graph, free, left_alone, most)

    @property
    def number(self) -> int:
        """How many may go at most."""
        return sum(self.most.values())

    def check(self, number: int) -> None:
        """Raise SettingError if fewer than ``number`` blocks may go."""
        if number > self.number:
            names = ", ".join(block.name for block in self.blocks) or "none"
            alone = f" Left alone on request: {', '.join(self.left_alone)}." if self.left_alone else ""
            raise SettingError(
                f"blocks={number}: {self.number} can be removed from this network. Found: {names}; one of "
                f"each stage stays.{alone} Ask for fewer, or for block_unit='branch'."
            )

    def allowed(self, gone: Sequence[Block]) -> list[Block]:
        """Return those that may go after ``gone``."""
        bypasses = [bypass for block in gone for bypass in block.bypasses]
        taken = Counter(block.stage for block in gone)
        return [
            block
            for block in self.blocks
            if block not in gone
            and taken[block.stage] < self.most[block.stage]
            and is_used(self.graph, bypasses, block.leaves)
        ]


def in_order(candidates: Candidates, importance: BlockImportance, scene: Scene) -> Iterator[Block]:
    """Yield the blocks one by one, each the least important of those that may still go."""
    gone: tuple[Block, ...] = ()
    while blocks := candidates.allowed(gone):
        scores = np.asarray(importance(blocks, replace(scene, gone=gone)), float)
        if scores.shape != (len(blocks),) or np.isnan(scores).any():
            raise SettingError(
                f"A block criterion returns a number for each of {len(blocks)} blocks, got {scores.tolist()}."
            )
        least = blocks[int(scores.argmin())]
        yield least
        gone = (*gone, least)


def _others_stay(model: nn.Module, blocks: Sequence[Block], stage: str) -> bool:
    """Whether a stage has a module like its blocks that is none of those that could go."""
    try:
        children = dict(model.get_submodule(stage).named_children())
    except AttributeError:
        return False
    own = {block.module.rpartition(".")[2] for block in blocks if block.stage == stage and block.module}
    kinds = {type(children[name]) for name in own}
    return any(type(child) in kinds for name, child in children.items() if name not in own)
