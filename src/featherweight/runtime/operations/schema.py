"""What an operation is: how many inputs, which constants, which attributes, and the shape that comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from featherweight._registry import Registry
from featherweight.errors import GraphError
from featherweight.runtime import attributes as kinds
from featherweight.runtime.attributes import OPTIONAL, Attribute
from featherweight.runtime.dims import Shape


@dataclass(frozen=True)
class Call:
    """What a shape function sees: an operation's attributes, and the shapes that go in."""

    attributes: Mapping[str, Any]
    inputs: Sequence[Shape]
    constants: Mapping[str, Shape]
    where: str

    def refuse(self, expected: str) -> GraphError:
        """Return the error that says what was expected of the shapes."""
        got = ", ".join(str(list(shape)) for shape in self.inputs)
        constants = "".join(f", {role} {list(shape)}" for role, shape in self.constants.items())
        return GraphError(f"{self.where}: expected {expected}; got inputs {got}{constants}.")

    def rank(self, rank: int, least: bool = False) -> Shape:
        """Return the shape of the first input, which must have ``rank`` sizes (or more, for ``least``)."""
        shape = self.inputs[0]
        if len(shape) != rank and not (least and len(shape) > rank):
            raise self.refuse(f"an input of {rank} dimensions{' or more' if least else ''}")
        return shape


ShapeOf: TypeAlias = Callable[[Call], Shape]


@dataclass(frozen=True)
class Schema:
    """What an operation takes and gives.

    Attributes:
        shape: the shape of its one output; raises GraphError where the inputs do not fit.
        inputs: the fewest and the most values that go in; None is without limit.
        constants: role to whether it must be there.
        attributes: by name.
    """

    shape: ShapeOf
    inputs: tuple[int, int | None] = (1, 1)
    constants: Mapping[str, bool] = field(default_factory=dict[str, bool])
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])


schemas: Registry[Schema] = Registry("operation")

STEPS = kinds.Wholes(2, 1, kinds.MOST_OF_WINDOWS)
PADS = kinds.Wholes(4, 0, kinds.MOST_OF_WINDOWS)
ACTIVATION = {"activation": Attribute(kinds.activation, OPTIONAL)}
KERNEL = {
    "kernel": Attribute(kinds.Choice(("sparse", "dense")), OPTIONAL),
    "blocks": Attribute(
        kinds.Wholes(2, 0, kinds.MOST_OF_WINDOWS), OPTIONAL
    ),  # positions, channels: native/kernels/operations.h
}


# Of any value: native/plan/types.h.
MOST_DIMENSIONS = 8
MOST_SIZE = 2**31 - 1  # along one axis
MOST_ELEMENTS = 2**34


def shape_of(op: str, call: Call) -> Shape:
    """Return the shape of what an operation makes; raises GraphError where its inputs do not fit it."""
    shape = schemas[op].shape(call)
    if len(shape) > MOST_DIMENSIONS:
        raise call.refuse(f"at most {MOST_DIMENSIONS} dimensions")
    if not within_limits(shape):
        raise call.refuse(f"an output of at most {MOST_ELEMENTS} elements, not {list(shape)}")
    return shape


def within_limits(shape: Sequence[Any]) -> bool:
    """Whether an array may be so large; sizes that are not known count as 1."""
    sizes = [size for size in shape if isinstance(size, int)]
    return max(sizes, default=0) <= MOST_SIZE and math.prod(size or 1 for size in sizes) <= MOST_ELEMENTS


def define(name: str, **parts: Any) -> Callable[[ShapeOf], ShapeOf]:
    """Return a decorator that files a shape function, and the rest of the Schema, under ``name``."""

    def file(shape: ShapeOf) -> ShapeOf:
        schemas.register(name)(Schema(shape, **parts))
        return shape

    return file
