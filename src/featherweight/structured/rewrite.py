"""The exported graph of a network, rewritten for a cut: sizes that stand in it as numbers are put right.

An operation with such numbers has an adjustment: ``(call, cut) -> {argument: new value}``, in the order and
with the names of its schema.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from featherweight._registry import Registry
from featherweight.core.trace import Call
from featherweight.structured.cut import Cut, Kept

Adjustment = Callable[[Call, Cut], dict[str, Any]]

adjustments: Registry[Adjustment] = Registry("adjustment of a call's numbers")

_SPLITS = (
    "aten.split.Tensor", "aten.split.sizes", "aten.split_with_sizes.default", "aten.chunk.default",
    "aten.tensor_split.sections", "aten.tensor_split.indices",
)  # fmt: skip


def adjusts(*names: str) -> Callable[[Adjustment], Adjustment]:
    """Register an adjustment under the names of its operations."""

    def register(function: Adjustment) -> Adjustment:
        for name in names:
            adjustments.register(f"aten.{name}")(function)
        return function

    return register


def rewritten(cut: Cut) -> torch.fx.GraphModule:
    """Return the graph of the cut network as a module with the names of the original's parameters."""
    tracing = cut.tracing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = tracing.graph.program.module(check_guards=False)  # with the tensors of the network itself
        module = copy.deepcopy(whole, _smaller(whole, cut.stored))
    calls = {call.name: call for call in tracing.graph.calls}
    for node in module.graph.nodes:
        call = calls.get(node.name)
        if node.op != "call_function" or call is None:
            continue
        if call.op in _SPLITS:
            _split_by_sizes(node, call, cut)
        else:
            _set_arguments(node, changed_arguments(call, cut))
    module.graph.lint()
    module.recompile()
    return module


def changed_arguments(call: Call, cut: Cut) -> dict[str, Any]:
    """Return the arguments of a call that the cut changes, with their new values."""
    if call.op not in adjustments:
        return {}
    new = adjustments[call.op](call, cut)
    return {name: value for name, value in new.items() if value != call.arguments[name]}


def _smaller(module: nn.Module, kept: Mapping[str, Mapping[int, Kept]]) -> dict[int, Any]:
    """Return what is left of each tensor, as a memo of ``copy.deepcopy``: what goes is never copied."""
    named, memo = tensors_of(module), dict[int, Any]()
    for name, dims in kept.items():
        tensor = named[name]
        left: Any = left_of(tensor.detach(), dims)
        if isinstance(tensor, nn.Parameter):
            left = nn.Parameter(left, tensor.requires_grad)
            left.grad = None if tensor.grad is None else left_of(tensor.grad, dims)
        memo[id(tensor)] = left
    return memo


def tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return parameters and buffers by all of their names."""
    return dict(module.named_parameters(remove_duplicate=False)) | dict(
        module.named_buffers(remove_duplicate=False)
    )


def shrink(module: nn.Module, kept: Mapping[str, Mapping[int, Kept]]) -> None:
    """Leave of parameters, their gradients and buffers what is ``kept``: by name, along which dimension."""
    named = tensors_of(module)
    done: set[int] = set()
    for name, dims in kept.items():
        tensor = named[name]
        if id(tensor) not in done:
            gradient = tensor.grad
            put(tensor, left_of(tensor.data, dims), None if gradient is None else left_of(gradient, dims))
            done.add(id(tensor))


def put(tensor: torch.Tensor, data: torch.Tensor, gradient: torch.Tensor | None) -> None:
    """Give a parameter or buffer other values, which may be fewer, and another gradient.

    While a graph of an earlier step is alive, torch keeps the node that adds to the gradient, with the sizes
    of then, and the next backward pass fails on it. Values of another type make torch forget that node.
    """
    tensor.grad = None
    if tensor.requires_grad and tensor.shape != data.shape:
        other = torch.float16 if tensor.dtype != torch.float16 else torch.float32
        tensor.data = torch.empty(0, dtype=other, device=tensor.device)
    tensor.data, tensor.grad = data, gradient


def left_of(tensor: torch.Tensor, dims: Mapping[int, Kept]) -> torch.Tensor:
    """Return a tensor without what goes along each of ``dims``."""
    for dim, kept in dims.items():
        tensor = tensor.index_select(dim, torch.from_numpy(np.flatnonzero(kept)).to(tensor.device))
    return tensor.clone()


def _set_arguments(node: torch.fx.Node, changes: dict[str, Any]) -> None:
    order = [argument.name for argument in node.target._schema.arguments]  # pyright: ignore
    args = list(node.args)
    for name, value in changes.items():
        place = order.index(name)
        if place < len(args):
            args[place] = _with_symbols(args[place], value)
        else:
            node.update_kwarg(name, value)
    node.args = tuple(args)


def _split_by_sizes(node: torch.fx.Node, call: Call, cut: Cut) -> None:
    """Make any split one with the sizes of its parts written down."""
    dim = call.arguments["dim"]
    sizes = [cut.shape(output)[dim] for output in call.outputs]
    node.target = torch.ops.aten.split_with_sizes.default
    node.args, node.kwargs = (node.args[0], sizes, dim), {}


def _with_symbols(old: Any, new: Any) -> Any:
    """Return ``new``, with the sizes kept that the graph computes."""
    if isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):  # pyright: ignore
        return [a if isinstance(a, torch.fx.Node) else b for a, b in zip(old, new, strict=True)]  # pyright: ignore
    return old if isinstance(old, torch.fx.Node) else new


@adjusts(
    "view.default", "reshape.default", "_unsafe_view.default", "expand.default", "zeros.default",
    "ones.default", "full.default", "empty.memory_format", "new_zeros.default", "new_ones.default",
    "new_full.default", "new_empty.default", "view_copy.default", "expand_copy.default",
    "broadcast_to.default",
)  # fmt: skip
def _output_size(call: Call, cut: Cut) -> dict[str, Any]:
    name = "size" if "size" in call.arguments else "shape"
    old, new = call.arguments[name], cut.shape(call.outputs[0])
    return {name: [o if o == -1 else n for o, n in zip(old, new, strict=True)]}


@adjusts("unflatten.int")
def _unflattened(call: Call, cut: Cut) -> dict[str, Any]:
    sizes, rank = call.arguments["sizes"], len(cut.tracing.axes[call.arguments["self"].name])
    dim = call.arguments["dim"] % rank
    new = cut.shape(call.outputs[0])[dim : dim + len(sizes)]
    return {"sizes": [o if o == -1 else n for o, n in zip(sizes, new, strict=True)]}


@adjusts(
    "conv1d.default", "conv2d.default", "conv3d.default",
    "conv1d.padding", "conv2d.padding", "conv3d.padding",
    "conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input",
)  # fmt: skip
def _groups(call: Call, cut: Cut) -> dict[str, Any]:
    groups = call.arguments["groups"]
    if groups == 1:
        return {}
    image, weight = call.arguments["input"].name, call.arguments["weight"].name
    channels = cut.kept(cut.tracing.axes[image][1 - len(cut.tracing.axes[weight])])
    return {"groups": int(channels.reshape(groups, -1).any(axis=1).sum())}


@adjusts("group_norm.default")
def _norm_groups(call: Call, cut: Cut) -> dict[str, Any]:
    channels = cut.kept(cut.tracing.axes[call.arguments["input"].name][1])
    return {"num_groups": int(channels.reshape(call.arguments["num_groups"], -1).any(axis=1).sum())}


@adjusts("channel_shuffle.default", "native_channel_shuffle.default")
def _shuffled_groups(call: Call, cut: Cut) -> dict[str, Any]:
    channels = cut.kept(cut.tracing.axes[call.arguments["self"].name][1])
    return {"groups": int(channels.reshape(call.arguments["groups"], -1).any(axis=1).sum())}


@adjusts("layer_norm.default", "rms_norm.default")
def _normalised(call: Call, cut: Cut) -> dict[str, Any]:
    shape = cut.shape(call.arguments["input"].name)
    return {"normalized_shape": list(shape[-len(call.arguments["normalized_shape"]) :])}


@adjusts("slice.Tensor")
def _slice(call: Call, cut: Cut) -> dict[str, Any]:
    axis = cut.tracing.axes[call.arguments["self"].name][call.arguments["dim"]]
    kept = cut.kept(axis)
    ends = {name: call.arguments[name] for name in ("start", "end")}
    return {n: int(kept[:end].sum()) for n, end in ends.items() if end and -len(kept) <= end < len(kept)}


@adjusts("narrow.default")
def _narrow(call: Call, cut: Cut) -> dict[str, Any]:
    axis = cut.tracing.axes[call.arguments["self"].name][call.arguments["dim"]]
    start = call.arguments["start"] % max(1, len(axis))
    kept, length = cut.kept(axis), call.arguments["length"]
    return {"start": int(kept[:start].sum()), "length": int(kept[start : start + length].sum())}
