"""Batch norm in a graph: it counts batches, and averages over them, as its module does while training.

torch.export notes a batch norm that evaluates. What its module does besides in Python, count batches and
weigh them all alike where ``momentum`` is None, is put back here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.overrides import handle_torch_function, has_torch_function

RUNNING_MEAN, TRAINING, MOMENTUM, COUNT = 3, 5, 6, 9  # places of batch_norm's arguments
FROZEN = "featherweight.frozen"  # node.meta: it evaluates, also where the graph trains


def batch_norm(*arguments: Any) -> Tensor:
    """Do what nn.BatchNorm2d does, given the arguments of aten.batch_norm and then its count of batches."""
    if has_torch_function(arguments):  # such as a tracer's: to it this is one operation
        return handle_torch_function(batch_norm, arguments, *arguments)
    image, weight, bias, mean, variance, training, momentum, eps, _cudnn, count = arguments
    if training and count is not None:
        count.add_(1)
        if momentum is None:
            momentum = 1 / float(count)
    return F.batch_norm(image, mean, variance, weight, bias, training, momentum or 0.0, eps)


@dataclass(frozen=True)
class _Counting:
    """What the graph of a batch norm does not say: its momentum, and the name of its count of batches."""

    momentum: float | None
    count: str | None


def count_batches(module: torch.fx.GraphModule, model: nn.Module) -> None:
    """Let the batch norms of ``module``, a graph of ``model``, count and average as those of ``model``."""
    known = dict(_counting(model))
    held = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    for node in list(module.graph.nodes):
        mean = node.args[RUNNING_MEAN] if node.target is torch.ops.aten.batch_norm.default else None
        if not isinstance(mean, torch.fx.Node) or mean.op != "get_attr":
            continue
        how = known.get(str(mean.target), _Counting(node.args[MOMENTUM], None))
        count = None
        if how.count in held:
            with module.graph.inserting_before(node):
                count = module.graph.get_attr(str(how.count))
        node.target = batch_norm
        node.args = (*node.args[:MOMENTUM], how.momentum, *node.args[MOMENTUM + 1 : COUNT], count)


def _counting(model: nn.Module) -> Iterator[tuple[str, _Counting]]:
    """Yield the name of each running mean, and how its batch norm counts."""
    for path, module in model.named_modules(remove_duplicate=False):
        within = f"{path}." if path else ""
        if isinstance(module, _BatchNorm):
            count = None if module.num_batches_tracked is None else f"{within}num_batches_tracked"
            yield f"{within}running_mean", _Counting(module.momentum, count)
        elif isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if node.target is batch_norm:
                    count = node.args[COUNT]
                    name = None if count is None else f"{within}{count.target}"
                    yield f"{within}{node.args[RUNNING_MEAN].target}", _Counting(node.args[MOMENTUM], name)


def running_mean_of(node: torch.fx.Node) -> str | None:
    """Return the name of the running mean of a batch norm in a graph; None of anything else."""
    mean = node.args[RUNNING_MEAN] if node.target is batch_norm else None
    return str(mean.target) if isinstance(mean, torch.fx.Node) else None


def evaluating_norms(model: nn.Module) -> Iterator[str]:
    """Yield the running means of the batch norms that evaluate, also those in graphs that train."""
    for path, module in model.named_modules(remove_duplicate=False):
        within = f"{path}." if path else ""
        if isinstance(module, _BatchNorm) and not module.training:
            yield f"{within}running_mean"
        elif isinstance(module, torch.fx.GraphModule):
            nodes = [node for node in module.graph.nodes if FROZEN in node.meta or not module.training]
            means = (running_mean_of(node) for node in nodes)
            yield from (f"{within}{mean}" for mean in means if mean is not None)


class BatchNormNode:
    """A batch norm of a graph, to be told what a module would be; ``recompile`` the graph afterwards."""

    def __init__(self, graph: torch.fx.GraphModule, node: torch.fx.Node, training: bool) -> None:
        """Take the graph, its node, and what the argument "training" is while evaluating."""
        self.graph, self.node, self._evaluated = graph, node, training

    @property
    def running_mean(self) -> Tensor:
        """The mean that it notes."""
        name: Any = self.node.args[RUNNING_MEAN]
        return self.graph.get_buffer(name.target)

    @property
    def momentum(self) -> float | None:
        """How much of the running statistics a batch replaces; None: all batches weigh the same."""
        return self.node.args[MOMENTUM]  # pyright: ignore[reportReturnType]

    @momentum.setter
    def momentum(self, value: float | None) -> None:
        self.node.update_arg(MOMENTUM, value)

    def train(self) -> None:
        """Take statistics of batches."""
        self.node.update_arg(TRAINING, True)

    def eval(self) -> None:
        """Use the running statistics."""
        self.node.update_arg(TRAINING, self._evaluated)
