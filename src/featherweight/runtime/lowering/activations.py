"""Functions of one number."""

from __future__ import annotations

import numpy as np

from featherweight.runtime.activation import Activation
from featherweight.runtime.lowering.builder import Builder
from featherweight.runtime.lowering.node import Node, handles

LARGEST = float(np.finfo(np.float32).max)
_PLAIN = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "HardSwish": "hard_swish",
    "Softplus": "softplus",
    "Erf": "erf",
    "Exp": "exp",
    "Sqrt": "sqrt",
    "Abs": "abs",
    "Neg": "neg",
}


@handles(*_PLAIN)
def plain(node: Node, build: Builder) -> None:
    """Those that are activations under another name."""
    build.unary(_PLAIN[node.op], node.input(0), node.output)


@handles("LeakyRelu")
def leaky_relu(node: Node, build: Builder) -> None:
    """Slope 0.01 by default."""
    build.unary("leaky_relu", node.input(0), node.output, node.get("alpha", 0.01))


@handles("Elu")
def elu(node: Node, build: Builder) -> None:
    """Alpha 1 by default."""
    build.unary("elu", node.input(0), node.output, node.get("alpha", 1.0))


@handles("Selu")
def selu(node: Node, build: Builder) -> None:
    """Gamma elu(x)."""
    made = build.unary("elu", node.input(0), None, node.get("alpha", 1.67326319217681884765625))
    gamma = np.asarray(node.get("gamma", 1.05070102214813232421875))
    build.emit("mul", [made], node.output, {"b": gamma})


@handles("Celu")
def celu(node: Node, build: Builder) -> None:
    """Alpha elu(x / alpha)."""
    alpha = np.asarray(node.get("alpha", 1.0))
    made = build.unary("elu", build.emit("div", [node.input(0)], constants={"b": alpha}), None, 1.0)
    build.emit("mul", [made], node.output, {"b": alpha})


@handles("HardSigmoid")
def hard_sigmoid(node: Node, build: Builder) -> None:
    """max(0, min(1, alpha x + beta))."""
    slope, offset = node.get("alpha", 0.2), node.get("beta", 0.5)
    build.unary("hard_sigmoid", node.input(0), node.output, slope, offset)


@handles("Gelu")
def gelu(node: Node, build: Builder) -> None:
    """Exact, or by tanh."""
    kind = "gelu_tanh" if node.get("approximate", "none") == "tanh" else "gelu"
    build.unary(kind, node.input(0), node.output)


@handles("Swish")
def swish(node: Node, build: Builder) -> None:
    """X sigmoid(alpha x)."""
    x, alpha = node.input(0), node.get("alpha", 1.0)
    if alpha == 1:
        build.unary("silu", x, node.output)
        return
    scaled = build.emit("mul", [x], constants={"b": np.asarray(alpha)})
    build.emit("mul", [x, build.unary("sigmoid", scaled)], node.output)


@handles("Mish")
def mish(node: Node, build: Builder) -> None:
    """X tanh(softplus(x))."""
    x = node.input(0)
    build.emit("mul", [x, build.unary("tanh", build.unary("softplus", x))], node.output)


@handles("Softsign")
def softsign(node: Node, build: Builder) -> None:
    """X / (1 + |x|)."""
    below = build.emit("add", [build.unary("abs", node.input(0))], constants={"b": np.asarray(1.0)})
    build.emit("div", [node.input(0), below], node.output)


@handles("Clip")
def clip(node: Node, build: Builder) -> None:
    """Bounds are inputs, or attributes in older opsets; one that is left out is the largest float."""
    low = _bound(node, build, 1, "min", -LARGEST)
    high = _bound(node, build, 2, "max", LARGEST)
    build.emit("unary", [node.input(0)], node.output, activation=clipped(low, high))


def clipped(low: float, high: float) -> Activation:
    """Return a clip, or a relu where that is all it does."""
    low, high = max(low, -LARGEST), min(high, LARGEST)
    return Activation("relu") if (low, high) == (0, LARGEST) else Activation("clip", (low, high))


def _bound(node: Node, build: Builder, place: int, name: str, default: float) -> float:
    if not node.input(place):
        return float(node.get(name, default))
    return float(build.weights(node.input(place), name).reshape(()))


@handles("PRelu")
def prelu(node: Node, build: Builder) -> None:
    """max(0, x) + slope min(0, x): a slope of its own for each channel, or one for all."""
    slope = build.weights(node.input(1), "slope")
    if slope.size == 1:
        build.unary("leaky_relu", node.input(0), node.output, float(slope.reshape(())))
        return
    low = build.emit("unary", [node.input(0)], activation=clipped(-LARGEST, 0.0))
    scaled = build.emit("mul", [low], constants={"b": slope})
    build.emit("add", [build.unary("relu", node.input(0)), scaled], node.output)
