"""Shapes of what is done to every element by itself."""

from __future__ import annotations

from featherweight.runtime import attributes as kinds
from featherweight.runtime.attributes import Attribute, Choice
from featherweight.runtime.dims import Shape, broadcast
from featherweight.runtime.operations.schema import ACTIVATION, Call, define

DTYPES = ("float32", "int64", "int32", "uint8", "bool")
_BINARY = {
    "inputs": (1, 2),
    "constants": {"b": False},
    "attributes": {"swapped": Attribute(kinds.flag, False), **ACTIVATION},
}


@define("unary", attributes={"activation": Attribute(kinds.activation)})
def unary(call: Call) -> Shape:
    """The shape stays."""
    return call.inputs[0]


@define("add", **_BINARY)
@define("sub", **_BINARY)
@define("mul", **_BINARY)
@define("div", **_BINARY)
def binary(call: Call) -> Shape:
    """Two shapes, or one and that of the constant ``b``, broadcast."""
    if len(call.inputs) + len(call.constants) != 2:
        raise call.refuse("two inputs, or one and a constant b")
    if call.attributes["swapped"] and not call.constants:
        raise call.refuse("a constant where `swapped` says that it comes first")
    a, b = (*call.inputs, *call.constants.values())
    return broadcast(a, b, call.where)


@define("affine", constants={"scale": True, "shift": True}, attributes=ACTIVATION)
def affine(call: Call) -> Shape:
    """(N, C, ...) stays; scale and shift are (C)."""
    shape = call.rank(2, least=True)
    if any(constant != (shape[1],) for constant in call.constants.values()):
        raise call.refuse("(N, C, ...), scale (C) and shift (C)")
    return shape


@define("cast", attributes={"dtype": Attribute(Choice(DTYPES))})
def cast(call: Call) -> Shape:
    """The shape stays."""
    return call.inputs[0]
