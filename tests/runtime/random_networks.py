"""Random ONNX networks, drawn by hypothesis node by node: each node takes values that are there and adds one.

Their weights keep the size of what goes through about 1, so that rounding stays rounding, and many are zeros.
The file is loaded by path, as test modules cannot import each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import helper

MOST_CHANNELS, MOST_PIXELS = 8, 19  # of the input
MOST_VALUES = 12_000  # of what a further node takes
ACTIVATIONS: dict[str, dict[str, Any]] = {
    **{
        kind: {}
        for kind in ("Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Erf", "Gelu", "Abs", "Neg", "Selu")
    },
    "LeakyRelu": {"alpha": 0.1},
    "Elu": {"alpha": 0.8},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
}
Shape = tuple[int, ...]  # without the batch


class Net:
    """A network that grows; ``shapes`` has the sizes of each value but the batch, in their order."""

    def __init__(self, draw: Any, free: bool) -> None:
        self.draw = draw
        self.source = np.random.default_rng(draw(st.integers(0, 2**31)))
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.shapes: dict[str, Shape] = {}
        self.outputs: tuple[str, ...] = ()
        self.free = free

    def whole(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def one_of(self, choices: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(choices)))

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def floats(self, *shape: int, least: float | None = None) -> str:
        array = self.source.standard_normal(shape) if least is None else self.source.uniform(least, 2, shape)
        return self.constant(array.astype(np.float32))

    def weight(self, *shape: int, fan_in: int) -> str:
        """Weights with zeros among them, of a size that keeps that of what goes through."""
        array = self.source.standard_normal(shape)
        array *= self.source.random(shape) >= self.one_of((0.0, 0.5, 0.8, 0.95, 1.0))
        left = max(1.0, fan_in * np.count_nonzero(array) / array.size)
        return self.constant((array / np.sqrt(left)).astype(np.float32))

    def add(self, op: str, inputs: Sequence[str], shape: Sequence[int], **attributes: Any) -> str:
        return self.add_all(op, inputs, [shape], **attributes)[0]

    def add_all(self, op: str, inputs: Sequence[str], shapes: Sequence[Any], **attributes: Any) -> list[str]:
        names = [f"v{len(self.shapes) + place}" for place in range(len(shapes))]
        self.nodes.append(
            helper.make_node(op, list(inputs), names, name=f"{op.lower()}_{names[0]}", **attributes)
        )
        self.shapes.update({name: tuple(shape) for name, shape in zip(names, shapes, strict=True)})
        return names

    def act(self, x: str) -> str:
        kind = self.one_of(["none", "Clip", "silu", *ACTIVATIONS])
        if kind == "none":
            return x
        shape = self.shapes[x]
        if kind == "silu":
            return self.add("Mul", [x, self.add("Sigmoid", [x], shape)], shape)
        if kind == "Clip":
            low, high = self.one_of([(0.0, 6.0), (-0.5, 0.7), (0.0, 0.3)])
            return self.add("Clip", [x, *(self.constant(np.float32(each)) for each in (low, high))], shape)
        return self.add(kind, [x], shape, **ACTIVATIONS[kind])


# Operations: each takes the network and a picture (C, H, W), and returns what it added.


def conv(net: Net, x: str, same: bool = False) -> str:
    channels, *sizes = net.shapes[x]
    groups = net.one_of([each for each in (1, 1, 1, 2, 3, channels) if channels % each == 0])
    out = channels if same else groups * net.whole(1, max(1, net.one_of((4, 9, 40)) // groups))
    kernel, strides, dilations = ([net.whole(1, most) for _ in sizes] for most in (5, 3, 3))
    pads = [net.whole(0, 3) for _ in range(2 * len(sizes))]
    if same:
        kernel, strides = [net.one_of((1, 3, 5)) for _ in sizes], [1] * len(sizes)
        pads = 2 * [d * (k // 2) for k, d in zip(kernel, dilations, strict=True)]
    for axis, size in enumerate(sizes):  # smaller, until the window fits
        while size + pads[axis] + pads[axis + len(sizes)] < dilations[axis] * (kernel[axis] - 1) + 1:
            kernel[axis] -= 1
    made = [
        (size + pads[axis] + pads[axis + len(sizes)] - dilations[axis] * (kernel[axis] - 1) - 1)
        // strides[axis]
        + 1
        for axis, size in enumerate(sizes)
    ]
    fan_in = channels // groups * int(np.prod(kernel))
    weights = [net.weight(out, channels // groups, *kernel, fan_in=fan_in)]
    weights += [net.floats(out)] if net.whole(0, 1) else []
    y = net.add(
        "Conv", [x, *weights], (out, *made), strides=strides, dilations=dilations, pads=pads, group=groups
    )
    return y if same else net.act(batch_norm(net, y) if net.whole(0, 2) == 0 else y)


def conv_transpose(net: Net, x: str) -> str:
    channels, *sizes = net.shapes[x]
    groups = net.one_of([each for each in (1, 1, 2, channels) if channels % each == 0])
    out = net.whole(1, 5)
    kernel, strides, dilations = ([net.whole(1, most) for _ in sizes] for most in (4, 3, 2))
    more = [net.whole(0, max(0, stride - 1)) for stride in strides]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [net.whole(0, min(2, r - 1)) for r in (*reach, *reach)]
    made = [
        (size - 1) * strides[a] - pads[a] - pads[a + len(sizes)] + reach[a] + more[a]
        for a, size in enumerate(sizes)
    ]
    if min(made) < 1 or max(made) > 60:
        return x
    weight = net.weight(channels, out, *kernel, fan_in=channels // groups * int(np.prod(kernel)))
    y = net.add(
        "ConvTranspose",
        [x, weight, *([net.floats(out * groups)] if net.whole(0, 1) else [])],
        (out * groups, *made),
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=more,
        group=groups,
    )
    return net.act(y)


def row(net: Net, x: str) -> str:
    """A convolution of one axis, over the picture's rows one after the other."""
    c, h, w = net.shapes[x]
    line = net.add("Reshape", [x, net.constant([0, c, h * w])], (c, h * w))
    line = net.one_of((conv, pool))(net, line)
    return net.add("Unsqueeze", [line, net.constant([2])], (net.shapes[line][0], 1, net.shapes[line][1]))


def pool(net: Net, x: str) -> str:
    c, *sizes = net.shapes[x]
    largest = bool(net.whole(0, 1))
    kernel = [net.whole(1, min(4, size)) for size in sizes]
    strides = [net.whole(1, 3) for _ in sizes]
    dilations = [
        net.whole(1, 2) if largest and 2 * k <= size else 1 for k, size in zip(kernel, sizes, strict=True)
    ]
    pads = [net.whole(0, min(2, k - 1)) for k in (*kernel, *kernel)]
    rooms = [
        size + pads[a] + pads[a + len(sizes)] - dilations[a] * (kernel[a] - 1) - 1
        for a, size in enumerate(sizes)
    ]
    made = [-(-room // stride) + 1 for room, stride in zip(rooms, strides, strict=True)]
    ceil = net.whole(0, 1)
    if any((made[a] - 1) * strides[a] >= size + pads[a] for a, size in enumerate(sizes)):
        ceil = 0  # ONNX counts a window that begins in the padding, and its engines do not
    if not ceil:
        made = [room // stride + 1 for room, stride in zip(rooms, strides, strict=True)]
    settings_: dict[str, Any] = (
        {"dilations": dilations} if largest else {"count_include_pad": net.whole(0, 1)}
    )
    return net.add(
        "MaxPool" if largest else "AveragePool",
        [x],
        (c, *made),
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
        ceil_mode=ceil,
        **settings_,
    )


def batch_norm(net: Net, x: str) -> str:
    c = net.shapes[x][0]
    parts = [net.floats(c), net.floats(c), net.floats(c), net.floats(c, least=0.5)]
    return net.add("BatchNormalization", [x, *parts], net.shapes[x], epsilon=1e-3)


def norm(net: Net, x: str) -> str:
    """A wide epsilon: nothing is divided by what rounding left."""
    shape = net.shapes[x]
    kind = net.one_of(("InstanceNormalization", "LayerNormalization", "batch"))
    if kind == "batch":
        return net.act(batch_norm(net, x))
    size = shape[0] if kind == "InstanceNormalization" else shape[-1]
    return net.add(kind, [x, net.floats(size), net.floats(size)], shape, epsilon=0.5)


def arithmetic(net: Net, x: str) -> str:
    """With a constant on either side."""
    shape = c, h, w = net.shapes[x]
    op = net.one_of(("Add", "Sub", "Mul", "Div"))
    b = net.floats(*net.one_of([(), (1,), (c, 1, 1), (w,), (h, 1), (c, h, w), (1, c, 1, 1)]), least=0.5)
    first = op != "Div" and bool(net.whole(0, 1))
    return net.act(net.add(op, [b, x] if first else [x, b], shape))


def together(net: Net, x: str) -> str:
    """With another value of the same shape, or one that is broadcast."""
    shape = c, h, w = net.shapes[x]
    fits = [(c, h, w), (c, 1, 1), (1, h, w), (c, h, 1), (1, 1, w)]
    other = net.one_of([name for name, each in net.shapes.items() if each in fits])
    op = net.one_of(("Add", "Sub", "Mul"))
    return net.act(net.add(op, [x, other] if net.whole(0, 1) else [other, x], shape))


def residual(net: Net, x: str) -> str:
    y = conv(net, x, same=True)
    y = conv(net, net.act(y), same=True) if net.whole(0, 1) else y
    y = batch_norm(net, y) if net.whole(0, 1) else y
    return net.act(net.add("Add", [x, y] if net.whole(0, 1) else [y, x], net.shapes[x]))


def gate(net: Net, x: str) -> str:
    """Squeeze and excitation."""
    shape = net.shapes[x]
    c, inner = shape[0], net.whole(1, 4)
    mean = net.add("GlobalAveragePool", [x], (c, 1, 1))
    a = net.add("Conv", [mean, net.weight(inner, c, 1, 1, fan_in=c), net.floats(inner)], (inner, 1, 1))
    b = net.add("Conv", [net.act(a), net.weight(c, inner, 1, 1, fan_in=inner)], (c, 1, 1))
    factor = net.add(net.one_of(("Sigmoid", "HardSigmoid")), [b], (c, 1, 1))
    return net.add("Mul", [x, factor], shape)


def concat(net: Net, x: str) -> str:
    """Of branches of x, or with values that are there."""
    c, h, w = net.shapes[x]
    others = [name for name, each in net.shapes.items() if len(each) == 3 and each[1:] == (h, w)]
    parts = [x, net.one_of(others), *([conv(net, x, same=True)] if net.whole(0, 1) else [])]
    parts = list(net.draw(st.permutations(parts)))
    if net.whole(0, 3) == 0:
        parts, axis = [x, conv(net, x, same=True)], net.whole(2, 3)
        made = (c, 2 * h, w) if axis == 2 else (c, h, 2 * w)
        return net.add("Concat", parts, made, axis=axis)
    return net.add("Concat", parts, (sum(net.shapes[part][0] for part in parts), h, w), axis=1)


def pad(net: Net, x: str) -> str:
    c, h, w = net.shapes[x]
    mode = net.one_of(("constant", "constant", "reflect", "edge", *([] if net.free else ["wrap"])))
    most = min(3, h, w) - (mode == "reflect")
    top, left, bottom, right = (net.whole(0, most) for _ in range(4))
    front = net.whole(0, 1) if mode == "constant" else 0
    pads = net.constant([0, front, top, left, 0, 0, bottom, right])
    value = [net.constant(np.float32(net.one_of((0.0, 0.0, 0.7))))] if mode == "constant" else []
    return net.add("Pad", [x, pads, *value], (c + front, h + top + bottom, w + left + right), mode=mode)


def cut(net: Net, x: str) -> str:
    """A slice along one axis."""
    shape = list(net.shapes[x])
    axis = net.whole(0, 2)
    start = net.whole(0, shape[axis] - 1)
    end = net.whole(start + 1, shape[axis])
    step = net.whole(1, 2)
    shape[axis] = len(range(start, end, step))
    bounds = [net.constant([each]) for each in (start, end, axis + 1, step)]
    return net.add("Slice", [x, *bounds], shape)


def split(net: Net, x: str) -> str:
    """Two parts; one of them is worked on, and both are put together again, or one is forgotten."""
    c, h, w = net.shapes[x]
    if c < 2:
        return x
    first = net.whole(1, c - 1)
    parts = net.add_all(
        "Split", [x, net.constant([first, c - first])], [(first, h, w), (c - first, h, w)], axis=1
    )
    if net.whole(0, 3) == 0:
        return parts[1]
    parts[0] = conv(net, parts[0], same=True) if net.whole(0, 1) else net.act(parts[0])
    parts = list(net.draw(st.permutations(parts)))
    return net.add("Concat", parts, (c, h, w), axis=1)


def resize(net: Net, x: str) -> str:
    c, h, w = net.shapes[x]
    mode = net.one_of(("nearest", "linear"))
    coordinates = net.one_of(("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"))
    rounding = {"nearest_mode": net.one_of(("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"))}
    scales = [net.one_of((0.5, 1.0, 1.5, 2.0, 2.0, 3.0)) for _ in range(2)]
    made = [int(h * scales[0]), int(w * scales[1])]
    if min(made) < 1 or max(made) > 50:
        return x
    given = ["", net.constant(np.float32([1, 1, *scales]))]
    return net.add(
        "Resize",
        [x, *given],
        (c, *made),
        mode=mode,
        coordinate_transformation_mode=coordinates,
        **(rounding if mode == "nearest" else {}),
    )


def shuffle(net: Net, x: str) -> str:
    """Channels of groups in turns."""
    c, h, w = net.shapes[x]
    groups = net.one_of([each for each in range(1, c + 1) if c % each == 0])
    y = net.add("Reshape", [x, net.constant([0, groups, c // groups, h, w])], (groups, c // groups, h, w))
    y = net.add("Transpose", [y], (c // groups, groups, h, w), perm=[0, 2, 1, 3, 4])
    return net.add("Reshape", [y, net.constant([0, c, h, w])], (c, h, w))


def blocks(net: Net, x: str) -> str:
    """Channels as pixels, or pixels as channels."""
    c, h, w = net.shapes[x]
    if c % 4 == 0:
        return net.add(
            "DepthToSpace", [x], (c // 4, 2 * h, 2 * w), blocksize=2, mode=net.one_of(("DCR", "CRD"))
        )
    if h % 2 == w % 2 == 0:
        return net.add("SpaceToDepth", [x], (4 * c, h // 2, w // 2), blocksize=2)
    return x


def tokens(net: Net, x: str) -> str:
    """Channels last and back, with a product of matrices, a norm or a softmax between."""
    c, h, w = net.shapes[x]
    y = net.add("Transpose", [x], (h, w, c), perm=[0, 2, 3, 1])
    kind = net.one_of(("MatMul", "Softmax", "LayerNormalization", "attention"))
    if kind == "MatMul":
        c = net.whole(1, 7)
        y = net.add("MatMul", [y, net.weight(net.shapes[x][0], c, fan_in=net.shapes[x][0])], (h, w, c))
        y = net.act(net.add("Add", [y, net.floats(c)], (h, w, c)))
    elif kind == "Softmax":
        y = net.add("Softmax", [y], (h, w, c), axis=net.one_of((-1, 1, 2)))
    elif kind == "LayerNormalization":
        y = net.add(kind, [y, net.floats(c), net.floats(c)], (h, w, c), epsilon=0.5)
    else:
        turned = net.add("Transpose", [y], (h, c, w), perm=[0, 1, 3, 2])
        weights = net.add("Softmax", [net.add("MatMul", [y, turned], (h, w, w))], (h, w, w))
        y = net.add("MatMul", [weights, y], (h, w, c))
    return net.add("Transpose", [y], (c, h, w), perm=[0, 3, 1, 2])


OPERATIONS: list[Callable[[Net, str], str]] = [
    *([conv] * 4), conv_transpose, row, pool, pool, norm, arithmetic, together, residual, residual, gate,
    concat, concat, pad, cut, split, resize, shuffle, blocks, tokens, Net.act,
]  # fmt: skip
# Those that hold for pictures of any size.
FREE: list[Callable[[Net, str], str]] = [
    conv, conv, conv_transpose, pool, batch_norm, residual, gate, pad, split, resize, Net.act
]  # fmt: skip


def head(net: Net, x: str) -> str:
    """What classifiers end with, or nothing."""
    c, h, w = net.shapes[x]
    kind = net.one_of(("none", "mean", "pool", *([] if net.free else ["flatten"])))
    if kind == "none":
        return x
    if kind == "mean":
        y = net.add("ReduceMean", [x, net.constant([2, 3])], (c,), keepdims=0)
    else:
        if kind == "pool":
            x, h, w = net.add(net.one_of(("GlobalAveragePool", "GlobalMaxPool")), [x], (c, 1, 1)), 1, 1
        y = net.add("Flatten", [x], (c * h * w,))
    features = net.shapes[y][0]
    out = net.whole(1, 20)
    weight = net.weight(out, features, fan_in=features)
    y = net.act(net.add("Gemm", [y, weight, net.floats(out)], (out,), transB=1))
    return net.add(net.one_of(("Softmax", "LogSoftmax")), [y], (out,)) if net.whole(0, 2) == 0 else y


@st.composite
def networks(draw: Any, free: bool = False) -> Net:
    """Return a network; for ``free``, one whose picture may be larger than drawn."""
    net = Net(draw, free)
    net.shapes["x"] = (net.whole(1, MOST_CHANNELS), net.whole(1, MOST_PIXELS), net.whole(1, MOST_PIXELS))
    x = "x"
    for _ in range(net.whole(1, 7)):
        made = net.one_of(FREE if free else OPERATIONS)(net, x)
        x = x if int(np.prod(net.shapes[made])) > MOST_VALUES else made
    last = head(net, x)
    if not net.nodes:
        last = net.add("Identity", ["x"], net.shapes["x"])
    further = [name for name in net.shapes if name not in ("x", last) and net.whole(0, 9) == 0]
    net.outputs = (last if last != "x" else next(reversed(net.shapes)), *further[:2])
    net.outputs = tuple(dict.fromkeys(net.outputs))
    return net
