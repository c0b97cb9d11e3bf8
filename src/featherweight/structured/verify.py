"""The naive reference: the whole network, with everything that a cut removes set to zero.

Its tensors keep their sizes, and it runs the graph that was traced. The one difference to the original is
that a mean, variance or norm runs over what is left, where the cut goes through what it runs over: that is
what it does in the cut network, and zeros must not count.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from featherweight.core.trace import Example, as_arguments
from featherweight.errors import SurgeryError
from featherweight.structured.cut import Cut, Kept


class Zeroed(torch.fx.Interpreter):
    """Runs the traced network with zeros where ``cut`` removes; call it with ``run(*inputs)``."""

    def __init__(self, cut: Cut, small: torch.fx.GraphModule) -> None:
        """Take a cut, and the graph rewritten for it: of that only the arguments of statistics are read."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(cut.tracing.graph.program.module(check_guards=False))
        self.cut, self.zeros = cut, cut.stored
        self.small = {node.name: node for node in small.graph.nodes}
        self.outputs = {call.name: call.outputs for call in cut.tracing.graph.calls}
        self.zeroed: dict[str, Tensor] = {}
        self.over_less = {s.call for s in cut.tracing.statistics if not self._whole(s.tensor, s.dims)}

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one node: with zeros for what goes, or over what is left."""
        if n.name in self.over_less:
            return self._run_over_less(n)
        result = super().run_node(n)
        return self._zeroed(str(n.target), result) if n.op == "get_attr" else result

    def _zeroed(self, target: str, tensor: Any) -> Any:
        name = self.cut.tracing.graph.first_name(target)
        if name not in self.zeros:
            return tensor
        if name not in self.zeroed:
            self.zeroed[name] = with_zeros(tensor, self.zeros[name])
        return self.zeroed[name]

    def _run_over_less(self, node: torch.fx.Node) -> Any:
        """Run a statistic as the cut network does, and put zeros around what comes out."""
        values = {n.name: self._compact(n) for n in node.all_input_nodes}
        small = self.small[node.name]
        args, kwargs = torch.fx.map_arg((small.args, small.kwargs), lambda n: values[n.name])
        result = small.target(*args, **kwargs)  # pyright: ignore
        parts = list(result) if isinstance(result, tuple | list) else [result]  # pyright: ignore
        wide = [self._spread(part, name) for part, name in zip(parts, self.outputs[node.name], strict=True)]
        return wide if isinstance(result, tuple | list) else wide[0]

    def _compact(self, node: torch.fx.Node) -> Any:
        value = self.env[node]
        if not isinstance(value, Tensor):
            return value
        for dim, kept in self._kept(node).items():
            value = value.index_select(dim, torch.from_numpy(np.flatnonzero(kept)))
        return value

    def _kept(self, node: torch.fx.Node) -> dict[int, Kept]:
        tracing = self.cut.tracing
        held = node.op == "get_attr"
        name = tracing.stored[tracing.graph.first_name(str(node.target))] if held else _value_of(node)
        return {dim: self.cut.kept(axis) for dim, axis in enumerate(tracing.axes[name])}

    def _spread(self, part: Tensor, name: str) -> Tensor:
        for dim, axis in enumerate(self.cut.tracing.axes[name]):
            kept = self.cut.kept(axis)
            if not kept.all():
                shape = [*part.shape[:dim], len(kept), *part.shape[dim + 1 :]]
                places = torch.from_numpy(np.flatnonzero(kept))
                part = part.new_zeros(shape).index_copy(dim, places, part)
        return part

    def _whole(self, tensor: str, dims: tuple[int, ...]) -> bool:
        axes = self.cut.tracing.axes[tensor]
        return all(self.cut.kept(axes[dim]).all() for dim in dims)


def _value_of(node: torch.fx.Node) -> str:
    """Return the name in the plain graph of what a node gives."""
    if node.target is operator.getitem:
        return f"{_value_of(cast('torch.fx.Node', node.args[0]))}.{node.args[1]}"
    return node.name


def with_zeros(tensor: Tensor, dims: dict[int, Kept]) -> Tensor:
    """Return a copy of ``tensor`` with zeros for what goes along each of ``dims``."""
    for dim, kept in dims.items():
        stays = torch.from_numpy(kept).to(tensor.device).view(-1, *[1] * (tensor.ndim - dim - 1))
        tensor = torch.where(stays, tensor, 0)
    return tensor


def difference(a: Any, b: Any) -> float:
    """Return the largest difference between two outputs, as a fraction of the largest entry of ``a``."""
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
    found = [
        float(
            (x.detach().double() - y.detach().double()).abs().max()
            / x.detach().double().abs().max().clamp_min(1e-30)
        )
        for x, y in pairs
        if isinstance(x, Tensor) and x.numel()
    ]
    return float(np.max(found, initial=0.0))  # what is not a number stays that


def check(cut: Cut, small: torch.fx.GraphModule, *inputs: Example) -> float:
    """Return how far ``small`` is from the zeroed network on any of ``inputs``.

    Args:
        cut: what goes.
        small: the graph rewritten for it.
        inputs: those of one call or several, each given as example inputs are.

    Returns:
        The largest difference over the largest output.

    Raises:
        SurgeryError: ``small`` does not run.
    """
    reference = Zeroed(cut, small)
    with torch.no_grad():
        return float(np.max([_distance(reference, small, example) for example in inputs]))


def _distance(reference: Zeroed, small: nn.Module, example: Example) -> float:
    args, kwargs = as_arguments(example)
    # An interpreter takes positional inputs only, in the order of the graph's placeholders.
    expected = reference.run(*tree_leaves((args, kwargs)))
    try:
        found = small(*args, **kwargs)
    except Exception as error:  # of any operation, on sizes that do not fit each other
        raise SurgeryError(
            f"The cut network does not run: {type(error).__name__}: {str(error).strip()}. The model is not "
            f"changed. A size in its graph was not put right: please report the network, and leave parts out "
            f"with skip= until it runs."
        ) from error
    return difference(expected, tree_leaves(found))


@contextmanager
def disturbed(model: nn.Module) -> Generator[None]:
    """Add noise to the parameters that are all alike, and put them back afterwards.

    New networks have scales of one and last layers of zero, behind which mistakes would hide.
    """
    alike = [
        p
        for p in model.parameters()
        if p.is_floating_point() and p.numel() and bool((p == p.flatten()[0]).all())
    ]
    before = [p.data for p in alike]
    try:
        for parameter in alike:
            parameter.data = parameter.data + 0.1 * torch.randn_like(parameter.data)
        yield
    finally:
        for parameter, data in zip(alike, before, strict=True):
            parameter.data = data
