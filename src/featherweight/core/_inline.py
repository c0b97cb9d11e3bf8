"""Regions of an exported program, such as ``with torch.autocast(...)``, put in line with the rest of it.

torch.export wraps what a network does inside such a block into a graph of its own, behind one call. Those who
follow dimensions, count or rewrite see one plain graph instead. What the block switched is lost: a network
that turns autocast off in places does so no more in a rewritten graph.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

_REGIONS = ("wrap_with_autocast", "wrap_with_set_grad_enabled")


def inline_regions(program: ExportedProgram) -> None:
    """Put the operations of every region of ``program`` in the place of the call that stands for it."""
    module = program.graph_module
    renamed = _inlined(module)
    if renamed:
        for spec in program.graph_signature.output_specs:
            name = getattr(spec.arg, "name", None)
            if name in renamed:
                cast("Any", spec.arg).name = renamed[name]
        module.graph.lint()
        module.recompile()


def _inlined(module: GraphModule) -> dict[str, str]:
    """Inline the regions of ``module``, those inside regions first; return new names by old ones."""
    renamed: dict[str, str] = {}
    for node in list(module.graph.nodes):
        if node.op == "call_function" and getattr(node.target, "__name__", "") in _REGIONS:
            place = next(n for n, value in enumerate(node.args) if _is_attribute(value))
            inner = module.get_submodule(str(node.args[place].target))
            _inlined(cast("GraphModule", inner))
            results = _copied(module, node, cast("GraphModule", inner), list(node.args[place + 1 :]))
            for user in list(node.users):  # each takes one of the results
                new = results[user.args[1]]
                renamed[user.name] = new.name
                user.replace_all_uses_with(new)
                module.graph.erase_node(user)
            module.graph.erase_node(node)
    return renamed


def _is_attribute(value: Any) -> bool:
    return isinstance(value, Node) and value.op == "get_attr"


def _copied(module: GraphModule, before: Node, inner: GraphModule, operands: list[Any]) -> Any:
    """Copy the operations of ``inner`` into the graph; return its results."""
    given = iter(operands)
    copies: dict[Node, Any] = {}
    with module.graph.inserting_before(before):
        for node in inner.graph.nodes:
            if node.op == "placeholder":
                copies[node] = next(given)
            elif node.op == "output":
                return torch.fx.map_arg(node.args[0], lambda n: copies[n])
            elif node.op == "call_function":
                copies[node] = module.graph.node_copy(node, lambda n: copies[n])
    raise AssertionError("a graph ends with its output")
