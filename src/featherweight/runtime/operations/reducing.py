"""Shapes of what goes along axes."""

from __future__ import annotations

from featherweight.runtime.attributes import Attribute, Whole, Wholes, flag, number
from featherweight.runtime.dims import Shape
from featherweight.runtime.operations.schema import Call, define

_KEEP = {"keep": Attribute(flag, True)}


def _check_axes(call: Call, axes: tuple[int, ...]) -> None:
    if any(axis >= len(call.inputs[0]) for axis in axes) or len(set(axes)) != len(axes):
        raise call.refuse(f"the axes {list(axes)}, each once")


def _reduced(call: Call, axes: tuple[int, ...]) -> Shape:
    _check_axes(call, axes)
    sizes = enumerate(call.inputs[0])
    if call.attributes["keep"]:
        return tuple(1 if axis in axes else size for axis, size in sizes)
    return tuple(size for axis, size in sizes if axis not in axes)


@define("reduce_mean", attributes={"axes": Attribute(Wholes()), **_KEEP})
def reduce_mean(call: Call) -> Shape:
    """The axes become 1, or go."""
    return _reduced(call, call.attributes["axes"])


@define("arg_max", attributes={"axis": Attribute(Whole()), **_KEEP})
def arg_max(call: Call) -> Shape:
    """The axis becomes 1, or goes."""
    return _reduced(call, (call.attributes["axis"],))


@define("normalize", attributes={"axis": Attribute(Whole()), "epsilon": Attribute(number)})
@define("softmax", attributes={"axis": Attribute(Whole())})
@define("log_softmax", attributes={"axis": Attribute(Whole())})
def softmax(call: Call) -> Shape:
    """The shape stays."""
    _check_axes(call, (call.attributes["axis"],))
    return call.inputs[0]
