"""Normalisations over one axis, written as means, squares and a root: found, and put before transposes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from featherweight.runtime.activation import Activation
from featherweight.runtime.fusion.rewrite import Change, View, rewrites
from featherweight.runtime.graph import Operation

_SQRT = Activation("sqrt")


@dataclass(frozen=True)
class _Deviation:
    """sqrt(mean of squares + epsilon)."""

    root: Operation
    mean: Operation
    square: Operation
    epsilon: float


@rewrites.register("normalize")
def normalize(view: View, operation: Operation) -> Change | None:
    """(x - mean) / sqrt(mean of (x - mean)^2 + epsilon)."""
    if operation.op != "div" or len(operation.inputs) != 2 or "activation" in operation.attributes:
        return None
    centered, deviation = view.makers.get(operation.inputs[0]), _deviation(view, operation.inputs[1])
    if centered is None or deviation is None or deviation.square.inputs != (centered.output,) * 2:
        return None
    mean = _mean_taken_off(view, centered)
    if mean is None or mean.attributes != deviation.mean.attributes or not _is_over_one_axis(mean):
        return None
    if len(view.readers[centered.output]) != 3 or view.is_output(centered.output):
        return None  # read by other than its square, twice, and the division
    parts = {"axis": mean.attributes["axes"][0], "epsilon": deviation.epsilon}
    made = Operation("normalize", operation.name, mean.inputs, operation.outputs, parts)
    gone = (mean, centered, deviation.square, deviation.mean, deviation.root)
    return Change({part.name: () for part in gone} | {operation.name: (made,)})


def _deviation(view: View, value: str) -> _Deviation | None:
    root = view.sole(value, "add")
    if root is None or root.attributes.get("activation") != _SQRT or len(root.inputs) != 1:
        return None
    mean, epsilon = view.sole(root.inputs[0], "reduce_mean"), view.constant(root, "b")
    if mean is None or epsilon is None or epsilon.size != 1:
        return None
    square = view.sole(mean.inputs[0], "mul")
    if square is None or "activation" in square.attributes:
        return None
    return _Deviation(root, mean, square, float(epsilon.reshape(())))


def _mean_taken_off(view: View, centered: Operation) -> Operation | None:
    """Return the mean where ``centered`` is its input without it."""
    if centered.op != "sub" or len(centered.inputs) != 2 or "activation" in centered.attributes:
        return None
    mean = view.sole(centered.inputs[1], "reduce_mean")
    return mean if mean is not None and mean.inputs[0] == centered.inputs[0] else None


def _is_over_one_axis(mean: Operation) -> bool:
    return mean.attributes["keep"] and len(mean.attributes["axes"]) == 1


@rewrites.register("normalize before transpose")
def normalize_before_transpose(view: View, operation: Operation) -> Change | None:
    """So that transpositions around it meet: ConvNeXt writes a norm over channels so."""
    if operation.op != "normalize":
        return None
    turn = view.sole(operation.inputs[0], "transpose")
    if turn is None:
        return None
    axis = turn.attributes["permutation"][operation.attributes["axis"]]
    attributes = {**operation.attributes, "axis": axis}
    first = replace(operation, inputs=turn.inputs, outputs=turn.outputs, attributes=attributes)
    second = replace(turn, inputs=turn.outputs, outputs=operation.outputs)
    return Change({turn.name: (first,), operation.name: (second,)})
