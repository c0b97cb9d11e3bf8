"""Operations that together are a function of one number that the runtime knows: x sigmoid(x) is silu.

Found by what they compute, not by how they are written: all operations between one value and an operation
that depends on nothing else are tried on numbers of all sizes, and compared with the known functions.
"""

from __future__ import annotations

import warnings

import numpy as np

from featherweight.runtime.activation import Activation
from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation
from featherweight.runtime.reference.activations import activate
from featherweight.runtime.reference.kernel import Array, Run, kernels

_POINTWISE = ("unary", "add", "sub", "mul", "div")
_MOST = 16  # operations of one function
_KNOWN = (
    *(
        Activation(kind)
        for kind in ("silu", "hard_swish", "gelu", "gelu_tanh", "sigmoid", "tanh", "relu", "abs")
    ),
    Activation("softplus"),
    Activation("hard_sigmoid", (1 / 6, 0.5)),
)
_SIZES = np.geomspace(1e-3, 1e4, 40)
SAMPLES = np.concatenate([-_SIZES[::-1], [0.0], _SIZES, np.linspace(-8, 8, 129)])


@rewrites.register("function")
def function(view: View, operation: Operation) -> Change | None:
    """The largest set of operations that ends with this one and is a known function of one value."""
    if operation.op not in _POINTWISE:
        return None
    cone, leaves, best = [operation], set(operation.inputs), None
    while len(cone) < _MOST:
        if len(cone) > 1 and len(leaves) == 1:
            best = _matched(view, cone, next(iter(leaves))) or best
        inner = _latest(view, cone, leaves)
        if inner is None:
            break
        cone.append(inner)
        leaves = (leaves - {inner.output}) | set(inner.inputs)
    return best


def _latest(view: View, cone: list[Operation], leaves: set[str]) -> Operation | None:
    """Return the last operation that a leaf comes from, if it belongs inside."""
    makers = [view.makers[value] for value in leaves if value in view.makers]
    if not makers:
        return None
    maker = max(makers, key=lambda operation: view.order[operation.name])
    inside = all(reader in cone for reader in view.readers[maker.output])
    return maker if maker.op in _POINTWISE and inside and not view.is_output(maker.output) else None


def _matched(view: View, cone: list[Operation], leaf: str) -> Change | None:
    root = cone[0]
    if view.shapes[leaf] != view.shapes[root.output]:
        return None
    computed = _computed(view, cone, leaf)
    if computed is None:
        return None
    for activation in _KNOWN:
        if np.allclose(computed, activate(SAMPLES, activation), rtol=1e-5, atol=1e-6):
            made = Operation("unary", root.name, (leaf,), root.outputs, {"activation": activation})
            return Change({operation.name: (made,) if operation is root else () for operation in cone})
    return None


def _computed(view: View, cone: list[Operation], leaf: str) -> Array | None:
    """Return what comes out for SAMPLES; None where a constant is more than one number."""
    values: dict[str, Array] = {leaf: SAMPLES}
    for operation in sorted(cone, key=lambda operation: view.order[operation.name]):
        constants: dict[str, Array] = {}
        for role in operation.constants:
            array = view.constant(operation, role)
            if array is None or array.size != 1:
                return None
            constants[role] = array.astype(np.float64).reshape(())
        run = Run(operation.attributes, [values[value] for value in operation.inputs], constants)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            result = kernels[operation.op](run)
            if "activation" in operation.attributes:
                result = activate(result, operation.attributes["activation"])
        values[operation.output] = result
    return values[cone[0].output]
