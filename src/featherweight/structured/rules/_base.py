"""What a rule is: how the dimensions of an operation's inputs become those of its outputs.

A rule takes a ``Flow``, states which axes must be cut alike and which cannot be cut, and returns the axes
of each output, ``[[axis, axis, ...], ...]``. It is registered under the names of its operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from featherweight._registry import Registry
from featherweight.core.trace import Call, Ref, refs
from featherweight.structured.units import Axis, Units, Why, fixed

Axes = list[Axis]


@dataclass(frozen=True)
class Statistic:
    """A mean, variance or norm over an axis that may be cut: afterwards it runs over what is left.

    Attributes:
        call: name of the call.
        tensor: name of the tensor that is reduced.
        dims: its reduced dimensions.
    """

    call: str
    tensor: str
    dims: tuple[int, ...]


@dataclass
class Flow:
    """One call, as its rule sees it.

    Attributes:
        call: the operation with its arguments.
        units: where facts are stated.
        known: axes of every tensor so far.
        shapes: sizes of every tensor.
        statistics: what rules noted with ``reduce``.
        zero: whether a tensor is zero wherever a cut removes, see zeros.py.
    """

    call: Call
    units: Units
    known: dict[str, Axes]
    shapes: dict[str, tuple[int, ...]]
    statistics: list[Statistic] = field(default_factory=list)
    zero: dict[str, bool] = field(default_factory=dict[str, bool])

    def __getitem__(self, name: str) -> Any:
        """Return an argument that is not a tensor."""
        return self.call.arguments[name]

    def has(self, name: str) -> bool:
        """Whether an argument is given."""
        return self.call.arguments.get(name) is not None

    def axes(self, name: str) -> Axes:
        """Return the axes of a tensor argument."""
        return list(self.known[self.call.arguments[name].name])

    def all_axes(self, name: str | None = None) -> list[Axes]:
        """Return the axes of each tensor in an argument, or in all of them."""
        values = self.call.arguments if name is None else self.call.arguments[name]
        return [list(self.known[ref.name]) for ref in refs(values)]

    def shape(self, output: int = 0) -> tuple[int, ...]:
        """Return the sizes of an output."""
        return self.shapes[self.call.outputs[output]]

    def size(self, name: str) -> tuple[int, ...]:
        """Return the sizes of a tensor argument."""
        return self.shapes[self.call.arguments[name].name]

    def why(self, what: str) -> Why:
        """Return a reason that names this call."""
        return Why(what, self.call.op, self.call.module)

    def unite(self, a: Axis, b: Axis) -> Axis:
        """State that two axes are cut at the same indices; returns one of them."""
        self.units.unite(a, b, self.why("meets a dimension that is never cut"))
        return a

    def freeze(self, axes: Iterable[Axis], what: str) -> None:
        """State that no index of these axes is ever cut."""
        for axis in axes:
            self.units.freeze(axis, self.why(what))

    def reduce(self, tensor: Ref, dims: Sequence[int]) -> None:
        """Note a statistic over dimensions that may be cut."""
        axes = self.known[tensor.name]
        cuttable = tuple(d for d in dims if self.units.resolve(axes[d]).size)
        if cuttable:
            self.statistics.append(Statistic(self.call.name, tensor.name, cuttable))

    def dim(self, name: str = "dim", rank: int | None = None) -> int:
        """Return an argument that counts a dimension, from 0."""
        return positive(self[name], len(self.axes("self")) if rank is None else rank)

    def dims(self, name: str = "dim") -> list[int]:
        """Return an argument that lists dimensions, from 0; all of them if it lists none."""
        rank, given = len(self.axes("self")), self.call.arguments.get(name)
        chosen = [given] if isinstance(given, int) else given
        return [positive(d, rank) for d in chosen] if chosen else list(range(rank))


Rule = Callable[[Flow], list[Axes]]

rules: Registry[Rule] = Registry("dimension rule")


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule under the names of its operations, such as "aten.conv2d.default"."""

    def register(function: Rule) -> Rule:
        for name in names:
            rules.register(f"aten.{name}")(function)
        return function

    return register


def positive(dim: int, rank: int) -> int:
    """Return a dimension counted from 0."""
    return dim + rank if dim < 0 else dim


def never_cut(shape: Sequence[int]) -> Axes:
    """Return axes of these sizes that are never cut."""
    return [fixed(size) for size in shape]
