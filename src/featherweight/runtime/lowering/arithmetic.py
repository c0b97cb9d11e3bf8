"""Two values, or a value and a constant, element by element."""

from __future__ import annotations

import math

import numpy as np

from featherweight.runtime.lowering.activations import LARGEST, clipped
from featherweight.runtime.lowering.builder import Builder
from featherweight.runtime.lowering.node import Node, handles

_BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}


@handles(*_BINARY)
def binary(node: Node, build: Builder) -> None:
    """Numpy's broadcasting."""
    combine(build, _BINARY[node.op], node.input(0), node.input(1), node.output)


def combine(build: Builder, op: str, a: str, b: str, output: str | None = None) -> str:
    """Add ``a op b``, of which one at most is a constant."""
    if build.is_constant(b):
        return build.emit(op, [a], output, {"b": build.weights(b, "second operand")})
    if build.is_constant(a):
        swapped = op in ("sub", "div")
        return build.emit(op, [b], output, {"b": build.weights(a, "first operand")}, swapped=swapped)
    return build.emit(op, [a, b], output)


@handles("Sum")
def sum_(node: Node, build: Builder) -> None:
    """One addition after the other."""
    first, *others = node.inputs
    if not others:
        build.alias(node.output, first)
    for place, other in enumerate(others):
        first = combine(build, "add", first, other, node.output if place == len(others) - 1 else None)


@handles("Mean")
def mean(node: Node, build: Builder) -> None:
    """The sum by how many there are."""
    first, *others = node.inputs
    for other in others:
        first = combine(build, "add", first, other)
    build.emit("div", [first], node.output, {"b": np.asarray(float(len(node.inputs)))})


@handles("Min", "Max")
def extreme(node: Node, build: Builder) -> None:
    """A clip, where all operands but one are numbers."""
    values = [name for name in node.inputs if not build.is_constant(name)]
    if len(values) != 1:
        raise node.refuse(f"it compares {len(values)} computed values; only one value and numbers are known")
    bounds = [build.weights(name, "bound") for name in node.inputs if build.is_constant(name)]
    if any(bound.size != 1 for bound in bounds):
        raise node.refuse(f"its bounds have shapes {[list(bound.shape) for bound in bounds]}, not one number")
    if not bounds:
        build.alias(node.output, values[0])
        return
    numbers = [float(bound.reshape(())) for bound in bounds]
    limits = (-LARGEST, min(numbers)) if node.op == "Min" else (max(numbers), LARGEST)
    build.emit("unary", values, node.output, activation=clipped(*limits))


@handles("Pow")
def power(node: Node, build: Builder) -> None:
    """Whole powers up to 4, and the square root."""
    x, exponent = node.input(0), build.weights(node.input(1), "exponent")
    if exponent.size != 1:
        raise node.refuse(f"its exponent has shape {list(exponent.shape)}; only one number is known")
    value = float(exponent.reshape(()))
    if value in (0.5, -0.5):
        root = build.unary("sqrt", x, node.output if value > 0 else None)
        if value < 0:
            build.emit("div", [root], node.output, {"b": np.asarray(1.0)}, swapped=True)
        return
    if value not in (1, 2, 3, 4):
        raise node.refuse(f"its exponent is {value}; 0.5, -0.5 and whole numbers from 1 to 4 are known")
    powers = {1: x}
    for exponent in range(2, int(value) + 1):
        output = node.output if exponent == value else None
        powers[exponent] = build.emit("mul", [powers[exponent - 1], x], output)
    if value == 1:
        build.alias(node.output, x)


@handles("Reciprocal")
def reciprocal(node: Node, build: Builder) -> None:
    """1 / x."""
    build.emit("div", [node.input(0)], node.output, {"b": np.asarray(1.0)}, swapped=True)


@handles("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")
def reduce_sum(node: Node, build: Builder) -> None:
    """The mean times how many there are."""
    x, axes, keep = node.input(0), reduced_axes(node, build), bool(node.get("keepdims", 1))
    sizes = [build.shape(x)[axis] for axis in axes]
    if not all(isinstance(size, int) for size in sizes):
        raise node.refuse(f"it sums over {sizes}, which are not known before the network runs")
    if node.op == "ReduceL1":
        x = build.unary("abs", x)
    elif node.op != "ReduceSum":
        x = build.emit("mul", [x, x])
    mean = build.emit("reduce_mean", [x], axes=axes, keep=keep)
    count = np.asarray(float(math.prod(int(size) for size in sizes)))  # pyright: ignore[reportArgumentType]
    total = build.emit("mul", [mean], None if node.op == "ReduceL2" else node.output, {"b": count})
    if node.op == "ReduceL2":
        build.unary("sqrt", total, node.output)


def reduced_axes(node: Node, build: Builder) -> tuple[int, ...]:
    """Return the axes of a reduction, from its input or attribute, counted from the front; all by default."""
    rank = len(build.shape(node.input(0)))
    axes = build.numbers(node.input(1), "axes") if node.input(1) else node.get("axes", None)
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return ()
        axes = range(rank)
    return tuple(sorted(node.axis(axis, rank) for axis in axes))
