"""Operations that do nothing."""

from __future__ import annotations

from collections.abc import Callable

from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation

Test = Callable[[View, Operation], bool]


def _does_nothing(view: View, operation: Operation) -> bool:
    attributes = operation.attributes
    if "activation" in attributes or len(operation.inputs) != 1:
        return False
    before, after = view.shapes[operation.inputs[0]], view.shapes[operation.output]
    test = _TESTS.get(operation.op)
    return before == after and test is not None and test(view, operation)


def _is(view: View, operation: Operation, role: str, value: float) -> bool:
    array = view.constant(operation, role)
    return array is not None and bool((array == value).all())


def _is_forward(view: View, operation: Operation) -> bool:
    return all(step > 0 for step in operation.attributes["steps"])


def _permutes_nothing(view: View, operation: Operation) -> bool:
    return operation.attributes["permutation"] == tuple(range(len(operation.attributes["permutation"])))


def _scales_nothing(view: View, operation: Operation) -> bool:
    return _is(view, operation, "scale", 1) and _is(view, operation, "shift", 0)


def _has(value: float) -> Test:
    """Return the test whether the second operand is nothing but ``value``."""

    def test(view: View, operation: Operation) -> bool:
        return not operation.attributes["swapped"] and _is(view, operation, "b", value)

    return test


def _always(view: View, operation: Operation) -> bool:
    return True


# Of operations with one input and without an activation that keep the shape.
_TESTS: dict[str, Test] = {
    "concat": _always,
    "reshape": _always,
    "slice": _is_forward,
    "pad": _always,
    "transpose": _permutes_nothing,
    "mul": _has(1),
    "div": _has(1),
    "add": _has(0),
    "sub": _has(0),
    "affine": _scales_nothing,
}


@rewrites.register("neutral")
def neutral(view: View, operation: Operation) -> Change | None:
    """Whoever reads it reads its input instead."""
    if not _does_nothing(view, operation):
        return None
    if not view.is_output(operation.output):
        return Change({operation.name: ()}, renames={operation.output: operation.inputs[0]})
    maker = view.sole(operation.inputs[0], *_ANY)
    if maker is None:
        return None
    return Change({maker.name: (_to(maker, operation.output),), operation.name: ()})


def _to(operation: Operation, output: str) -> Operation:
    return Operation(
        operation.op, operation.name, operation.inputs, (output,), operation.attributes, operation.constants
    )


_ANY = (
    "conv",
    "conv_transpose",
    "linear",
    "matmul",
    "unary",
    "add",
    "sub",
    "mul",
    "div",
    "affine",
    "softmax",
    "log_softmax",
    "normalize",
)
