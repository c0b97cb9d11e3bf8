"""The naive reference: the whole traced network runs, and what is bypassed is put in the place of results.

Nothing is taken out of it, so that it shares neither the search for idle operations nor modules put in the
place of others with what it is compared to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils._pytree import tree_leaves

from featherweight.core.trace import Example, as_arguments
from featherweight.structured.depth.bypass import Bypass, replacements
from featherweight.structured.verify import difference

Watch = Callable[[Bypass, Tensor, Tensor], None]


class Bypassing(torch.fx.Interpreter):
    """Runs a graph with parts of it bypassed; ``watch`` is told what enters and leaves others."""

    def __init__(
        self,
        module: torch.fx.GraphModule,
        bypasses: Iterable[Bypass],
        watched: Iterable[Bypass] = (),
        watch: Watch | None = None,
    ) -> None:
        """Take the graph, what is bypassed, and those others of which ``watch(bypass, enters, leaves)``."""
        super().__init__(module, garbage_collect_values=False)
        self.replaced = replacements(module.graph, bypasses)
        self.watch = watch
        self.watched = [(pair, replacements(module.graph, [pair])) for pair in watched]
        self.entering = {node for _, nodes in self.watched for node in nodes.values()}
        self.entered: dict[Node, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        """Run one node, or take what stands for its result."""
        result = self.env[self.replaced[n]].clone() if n in self.replaced else super().run_node(n)
        if n in self.entering:
            self.entered[n] = result.clone()  # something may write into it afterwards
        for pair, nodes in self.watched:
            if n in nodes and self.watch is not None:
                self.watch(pair, self.entered[nodes[n]], result)
        return result


def run(reference: Bypassing, example: Example) -> Any:
    """Return the outputs for ``example``, given in the order of the graph's inputs."""
    args, kwargs = as_arguments(example)
    with torch.no_grad():
        return reference.run(*tree_leaves((args, kwargs)))


def distance(reference: Bypassing, small: nn.Module, example: Example) -> float:
    """Return how far ``small`` is from the reference: the largest difference over the largest output."""
    args, kwargs = as_arguments(example)
    with torch.no_grad():
        return difference(run(reference, example), tree_leaves(small(*args, **kwargs)))
