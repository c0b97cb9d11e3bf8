"""Bypassing a part of an exported graph: one tensor takes the place of another, and what is idle goes.

An operation stays if what the network returns depends on it. One that writes into a tensor stays too, if
that tensor, or what it is a view of, does.
"""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import Node

from featherweight.core.trace import Graph


class Bypass(NamedTuple):
    """One tensor in the place of another, by their names in the plain graph.

    Attributes:
        enters: what is taken instead.
        leaves: what is not computed any more.
    """

    enters: str
    leaves: str


def tensors_without(graph: Graph, bypasses: Iterable[Bypass]) -> frozenset[str]:
    """Return the names of the parameters and buffers that only what ``bypasses`` make idle uses.

    What no operation uses (a batch norm's count of batches) goes with the module that holds it; of a tied one
    all names are returned.
    """
    inputs = graph.stored_in_program()
    gone = _idle_after(graph.program.graph, inputs, bypasses)
    return gone | {name for name, first in graph.aliases.items() if first in gone}


def _idle_after(
    fx_graph: torch.fx.Graph, stored: Mapping[str, str], bypasses: Iterable[Bypass]
) -> frozenset[str]:
    """Return which of ``stored``, names of tensors by node, nothing that is left uses."""
    replaced = replacements(fx_graph, bypasses)
    before = {stored[node.name] for node in _live(fx_graph, {}) if node.name in stored}
    after = {stored[node.name] for node in _live(fx_graph, replaced) if node.name in stored}
    gone, idle = before - after, set(stored.values()) - before
    homes = {_parent(name) for name in gone} - {_parent(name) for name in after}
    return frozenset(gone | {name for name in idle if _parent(name) in homes})


def is_used(graph: Graph, bypasses: Iterable[Bypass], name: str) -> bool:
    """Whether a tensor is still computed for what the network returns."""
    fx_graph = graph.program.graph
    replaced = replacements(fx_graph, bypasses)
    node = _node(_by_name(fx_graph), name)
    return node not in replaced and node in _live(fx_graph, replaced)


def apply(module: torch.fx.GraphModule, bypasses: Iterable[Bypass]) -> None:
    """Bypass parts of ``module`` in place; its parameters and buffers stay."""
    graph = module.graph
    replaced = replacements(graph, bypasses)
    live = _live(graph, replaced)
    for old in list(graph.nodes):
        if old in replaced and old.users:
            old.replace_all_uses_with(_stand_in(graph, old, _resolved(replaced, old)))
    for node in reversed(graph.nodes):
        if node in live or node.op in ("placeholder", "output") or _COPY in node.meta:
            continue
        graph.erase_node(node)
    graph.lint()
    module.recompile()


def bypassed(module: torch.fx.GraphModule, bypasses: Iterable[Bypass]) -> torch.fx.GraphModule:
    """Return ``module`` without the parts; it shares the parameters of those that are left."""
    bypasses = tuple(bypasses)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FutureWarning of torch's own copy of a graph's inputs and outputs
        small = torch.fx.GraphModule(module, copy.deepcopy(module.graph))
    held = dict(small.named_parameters(remove_duplicate=False)) | dict(
        small.named_buffers(remove_duplicate=False)
    )
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(tensor), name) for name, tensor in held.items()}
    nodes = [node for node in small.graph.nodes if node.op == "get_attr" and node.target in names]
    gone = _idle_after(small.graph, {node.name: names[node.target] for node in nodes}, bypasses)
    apply(small, bypasses)
    delete(small, [name for name in held if names[name] in gone])
    return small.eval()


def exported(graph: Graph) -> torch.fx.GraphModule:
    """Return a graph as a module that shares its parameters with the network it was traced from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return graph.program.module(check_guards=False)  # pyright: ignore[reportReturnType]


def replacements(graph: torch.fx.Graph, bypasses: Iterable[Bypass]) -> dict[Node, Node]:
    """Return which node takes the place of which."""
    nodes = _by_name(graph)
    return {_node(nodes, leaves): _node(nodes, enters) for enters, leaves in bypasses}


_COPY = "featherweight.copy"  # node.meta: made here


def _by_name(graph: torch.fx.Graph) -> dict[str, Node]:
    """Return nodes by name; inputs by the name they were traced with: as a module, "input" is "input_1"."""
    inputs = {str(node.target): node for node in graph.nodes if node.op == "placeholder"}
    return inputs | {node.name: node for node in graph.nodes}


def _node(nodes: Mapping[str, Node], name: str) -> Node:
    """Return the node of a tensor; "chunk.1" is the second part of what ``chunk`` gives."""
    if name in nodes:
        return nodes[name]
    base, _, index = name.rpartition(".")
    parts = (n for n in nodes[base].users if n.target is operator.getitem and n.args[1] == int(index))
    return next(parts)


def _resolved(replaced: Mapping[Node, Node], node: Node) -> Node:
    while node in replaced:
        node = replaced[node]
    return node


def _stand_in(graph: torch.fx.Graph, old: Node, new: Node) -> Node:
    """Return ``new``, or a copy of it where an operation writes into what it takes the place of."""
    if not any(old in _written(user) for user in old.users):
        return new
    with graph.inserting_before(old):
        made = graph.call_function(torch.ops.aten.clone.default, (new,))
    made.meta |= {"val": old.meta.get("val"), _COPY: True}
    return made


def _live(graph: torch.fx.Graph, replaced: Mapping[Node, Node]) -> set[Node]:
    live: set[Node] = set()
    _reach([node for node in graph.nodes if node.op == "output"], replaced, live)
    writing = [node for node in graph.nodes if node not in replaced and any(True for _ in _written(node))]
    grown = True
    while grown:
        found = [n for n in writing if n not in live and any(_root(w) in live for w in _written(n))]
        _reach(found, replaced, live)
        grown = bool(found)
    return live


def _reach(todo: list[Node], replaced: Mapping[Node, Node], live: set[Node]) -> None:
    """Add nodes, and all that they need, to ``live``."""
    while todo:
        node = _resolved(replaced, todo.pop())
        if node not in live:
            live.add(node)
            todo += node.all_input_nodes


def _written(node: Node) -> Iterator[Node]:
    """Yield the arguments that an operation writes into."""
    for place, argument in enumerate(_arguments(node)):
        given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
        if isinstance(given, Node) and argument.alias_info is not None and argument.alias_info.is_write:
            yield given


def _root(node: Node) -> Node:
    """Return what a view, or what was written into, is made of; any other node as it is."""
    while True:
        viewed = [
            given
            for argument, given in zip(_arguments(node), node.args, strict=False)
            if isinstance(given, Node) and argument.alias_info is not None
        ]
        if not viewed:
            return node
        node = viewed[0]


def _arguments(node: Node) -> Iterable[Any]:
    schema = getattr(node.target, "_schema", None)
    return () if schema is None else schema.arguments


def delete(module: nn.Module, names: Iterable[str]) -> None:
    """Take parameters and buffers out of a module, and what holds nothing any more."""
    for name in names:
        path, _, own = name.rpartition(".")
        delattr(module.get_submodule(path), own)
        while path and not _holds_anything(module.get_submodule(path)):
            parent, _, own = path.rpartition(".")
            delattr(module.get_submodule(parent), own)
            path = parent


def _holds_anything(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(), *module.buffers(), *module.children()))


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
