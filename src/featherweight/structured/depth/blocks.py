"""Blocks: parts of a network that can be bypassed, found from its graph.

A residual sum is an addition of ``s`` and ``f`` where ``f`` was computed from ``s``, or from one of the terms
that ``s`` is a sum of; without ``f``, the sum is ``s``. The shortcut must be plain: behind a layer in it
(a strided convolution), sizes or meaning change, and neither side was computed from the other.

A whole module is a block where a shortcut leads from one of its inputs to its only output: through residual
sums, activations, norms and changes of shape. Without it, its output is that input. A module that only holds
the end of a branch is none: it is given something else that was computed from that input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from featherweight.core.trace import Call, Graph, Ref, refs
from featherweight.structured.depth.bypass import Bypass, tensors_without

_SUMS = ("aten.add.Tensor", "aten.add_.Tensor")
# Operations that a shortcut may go through, besides pointwise ones of one tensor.
_PASSES = {
    "layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "dropout", "dropout_",
    "feature_dropout", "view", "reshape", "_unsafe_view", "flatten", "unflatten", "contiguous", "clone",
    "to", "_to_copy", "identity", "alias", "detach",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A part of a network that can be bypassed: one residual branch, or a whole module.

    Attributes:
        name: path of the module; of a branch, that of the module in it with the most parameters.
        bypasses: the tensor that is put in the place of which other; then the sums in it that would be
            written over their shortcut.
        module: path of the module that computes it, "" for a branch.
        stage: path of the module that holds it and those like it.
        tensors: parameters and buffers that nothing needs without it.
        sums: names of the calls that are its residual sums.
    """

    name: str
    bypasses: tuple[Bypass, ...]
    module: str
    stage: str
    tensors: frozenset[str]
    sums: tuple[str, ...]

    @property
    def leaves(self) -> str:
        """The tensor that is not computed any more."""
        return self.bypasses[0].leaves


def find_branches(graph: Graph) -> tuple[Block, ...]:
    """Return every residual branch with parameters of its own, in the order of the graph."""
    reading = _Reading(graph)
    found: list[Block] = []
    for call in graph.calls:
        if (shortcut := reading.shortcut(call)) is None:
            continue
        bypass = Bypass(shortcut, call.outputs[0])
        if tensors := tensors_without(graph, [bypass]):
            name = _name(graph, tensors)
            found.append(Block(name, (bypass,), "", _parent(call.module), tensors, (call.name,)))
    return _distinct(found)


def find_modules(model: nn.Module, graph: Graph) -> tuple[Block, ...]:
    """Return every module of a repeated kind that can be bypassed whole, in the order of the graph."""
    reading = _Reading(graph)
    found: dict[str, Block] = {}
    for path, calls in _regions(graph).items():
        if _is_repeated(model, path) and (crossed := reading.crossing(calls)) is not None:
            bypasses, sums = crossed
            if tensors := tensors_without(graph, bypasses):
                found[path] = Block(path, bypasses, path, _parent(path), tensors, sums)
    holding = {path for path in found for other in found if other.startswith(f"{path}.")}
    return tuple(block for path, block in found.items() if path not in holding)


def find_blocks(model: nn.Module, graph: Graph, unit: str) -> tuple[Block, ...]:
    """Return what can be bypassed, in the order of the graph.

    Args:
        model: the network.
        graph: of it.
        unit: "block": whole modules, and the branches that are in none; "branch": every branch by itself.
    """
    modules, branches = find_modules(model, graph), find_branches(graph)
    if unit == "branch":
        modules = tuple(block for block in modules if len(block.sums) == 1)
    inside = {name for block in modules for name in block.sums}
    order = {output: place for place, call in enumerate(graph.calls) for output in call.outputs}
    rest = [branch for branch in branches if not inside.issuperset(branch.sums)]
    return tuple(sorted([*modules, *rest], key=lambda block: order[block.leaves]))


class _Reading:
    """What was computed from what; sets of tensors are bits of integers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producer = {output: call for call in graph.calls for output in call.outputs}
        self.bits = {name: 1 << place for place, name in enumerate(graph.shapes)}
        self.sources: dict[str, int] = {}  # all that it was computed from
        self.terms: dict[str, int] = {}  # itself, and the terms that it is a sum of
        self.users: dict[str, list[str]] = {}
        for call in graph.calls:
            self._read(call)

    def _read(self, call: Call) -> None:
        sources = 0
        for ref in refs(call.arguments):
            sources |= self.sources.get(ref.name, 0) | self.bits[ref.name]
            self.users.setdefault(ref.name, []).append(call.name)
        operands = self._operands(call)
        for output in call.outputs:
            self.sources[output] = sources
            self.terms[output] = self.bits[output]
            for operand in operands:
                self.terms[output] |= self._terms(operand)

    def _terms(self, name: str) -> int:
        return self.terms.get(name, self.bits[name])

    def _operands(self, call: Call) -> tuple[str, ...]:
        """Return the operands of a sum of two tensors of its own sizes; nothing for other calls."""
        if call.op not in _SUMS or call.arguments.get("alpha", 1) != 1:
            return ()
        both = call.arguments["self"], call.arguments["other"]
        names = tuple(value.name for value in both if isinstance(value, Ref))
        shapes = self.graph.shapes
        alike = all(shapes[name] == shapes[call.outputs[0]] for name in names)
        return names if len(names) == 2 and alike else ()

    def shortcut(self, call: Call) -> str | None:
        """Return the operand of a residual sum that the other one was computed from."""
        names = self._operands(call)
        for shortcut, branch in zip(names, reversed(names), strict=True):
            if self._terms(shortcut) & self.sources.get(branch, 0):
                return shortcut
        return None

    def crossing(self, calls: Sequence[Call]) -> tuple[tuple[Bypass, ...], tuple[str, ...]] | None:
        """Return what bypasses ``calls`` where a shortcut leads through them, and the names of its sums."""
        inside = {call.name for call in calls}
        leaving = [output for call in calls for output in call.outputs if self._leaves(output, inside)]
        if len(leaving) != 1:
            return None
        value, sums, over = leaving[0], list[str](), list[Bypass]()
        while value in self.producer and (call := self.producer[value]).name in inside:
            shortcut = self.shortcut(call)
            if shortcut is not None:
                sums.append(call.name)
                if call.op == "aten.add_.Tensor" and value != leaving[0]:
                    over.append(Bypass(shortcut, value))
            value = shortcut or self._through(call)
            if value is None:
                return None
        same = self.graph.shapes[value] == self.graph.shapes[leaving[0]]
        if not sums or not same or value in self.graph.stored or self._begins_outside(value, calls):
            return None
        return (Bypass(value, leaving[0]), *over), tuple(sums)

    def _begins_outside(self, value: str, calls: Sequence[Call]) -> bool:
        """Whether something else that enters ``calls`` was computed from ``value``: half of a branch."""
        inside = {output for call in calls for output in call.outputs}
        entering = {ref.name for call in calls for ref in refs(call.arguments)} - inside
        return any(self.sources.get(name, 0) & self.bits[value] for name in entering)

    def _leaves(self, output: str, inside: set[str]) -> bool:
        return output in self.graph.outputs or any(name not in inside for name in self.users.get(output, ()))

    def _through(self, call: Call) -> str | None:
        """Return the one tensor that an operation on a shortcut takes, besides stored ones."""
        base = call.op.removeprefix("aten.").partition(".")[0]
        taken = {ref.name for ref in refs(call.arguments)} - self.graph.stored.keys()
        if len(taken) != 1 or not (call.is_pointwise or base in _PASSES):
            return None
        return taken.pop()


def _regions(graph: Graph) -> dict[str, list[Call]]:
    """Return the calls in each module, those of modules inside it included."""
    found: dict[str, list[Call]] = {}
    for call in graph.calls:
        path = call.module
        while path:
            found.setdefault(path, []).append(call)
            path = _parent(path)
    return found


def _is_repeated(model: nn.Module, path: str) -> bool:
    """Whether a module is one of several like it, or all of a list."""
    parent, _, own = path.rpartition(".")
    try:
        module, siblings = model.get_submodule(path), model.get_submodule(parent)
    except AttributeError:
        return False
    kinds = [type(child) for _, child in siblings.named_children()]
    return kinds.count(type(module)) > 1 or (own.isdigit() and len(kinds) == 1)


def _name(graph: Graph, tensors: frozenset[str]) -> str:
    """Return the path of the largest part of what a branch holds."""
    sizes: Counter[str] = Counter()
    shapes = {target: graph.shapes[name] for name, target in graph.stored.items()}
    names = sorted(tensors & shapes.keys())  # a tied one once
    paths = [_parent(name).split(".") for name in names]
    common = 0
    while all(len(path) > common and path[common] == paths[0][common] for path in paths):
        common += 1
    for name, path in zip(names, paths, strict=True):
        sizes[".".join(path[: common + 1])] += _count(shapes[name])
    return sizes.most_common(1)[0][0] or min(tensors)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _distinct(blocks: list[Block]) -> tuple[Block, ...]:
    """Number the second and later of blocks with one name."""
    seen: Counter[str] = Counter()

    def numbered() -> Iterator[Block]:
        for block in blocks:
            seen[block.name] += 1
            number = seen[block.name]
            yield block if number == 1 else replace(block, name=f"{block.name}#{number}")

    return tuple(numbered())


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
