"""Convolutions of one and two axes."""

from __future__ import annotations

from featherweight.runtime.lowering.builder import Builder
from featherweight.runtime.lowering.node import Node, handles
from featherweight.runtime.lowering.windows import Window, as_picture, from_picture, window_of


@handles("Conv")
def conv(node: Node, build: Builder) -> None:
    """Weight (M, C / groups, ...), bias (M)."""
    x = node.input(0)
    sizes = build.shape(x)[2:]
    weight = build.weights(node.input(1), "weight")
    window = window_of(node, sizes, weight.shape[2:])
    made = build.emit(
        "conv",
        [as_picture(build, x)],
        node.output if len(sizes) == 2 else None,
        {"weight": weight if len(sizes) == 2 else weight[:, :, None], "bias": _bias(node, build)},
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        groups=node.get("group", 1),
    )
    from_picture(build, made, len(sizes), node.output)


@handles("ConvTranspose")
def conv_transpose(node: Node, build: Builder) -> None:
    """Weight (C, M / groups, ...), bias (M)."""
    x = node.input(0)
    sizes = build.shape(x)[2:]
    weight = build.weights(node.input(1), "weight")
    named = node.get("auto_pad", "NOTSET")
    plain = Node(node.op, node.name, node.inputs, node.outputs, {**node.attributes, "auto_pad": "NOTSET"})
    window = window_of(plain, sizes, weight.shape[2:])
    more = [0] * (2 - len(sizes)) + list(node.get("output_padding", None) or [0] * len(sizes))
    wanted = node.get("output_shape", None)
    pads = window.pads if named != "VALID" else (0, 0, 0, 0)
    if wanted or named.startswith("SAME"):
        picture = (1,) * (2 - len(sizes)) + tuple(_known(node, size) for size in sizes)
        target = [1] * (2 - len(sizes)) + list(wanted or [])[-len(sizes) :] if wanted else None
        target = target or [size * stride for size, stride in zip(picture, window.strides, strict=True)]
        pads = _pads_for(node, window, picture, more, target)
    made = build.emit(
        "conv_transpose",
        [as_picture(build, x)],
        node.output if len(sizes) == 2 else None,
        {"weight": weight if len(sizes) == 2 else weight[:, :, None], "bias": _bias(node, build)},
        strides=window.strides,
        pads=pads,
        dilations=window.dilations,
        groups=node.get("group", 1),
        output_pads=tuple(more),
    )
    from_picture(build, made, len(sizes), node.output)


def _bias(node: Node, build: Builder):
    return build.weights(node.input(2), "bias") if node.input(2) else None


def _known(node: Node, size: object) -> int:
    if not isinstance(size, int):
        raise node.refuse(f"its padding hangs on a size that is not known ({size}) while compiling")
    return size


def _pads_for(
    node: Node, window: Window, picture: tuple[int, ...], more: list[int], target: list[int]
) -> tuple[int, ...]:
    """Return the padding that makes the output of the size ``target``; ``more`` grows where it is larger."""
    upper = node.get("auto_pad", "NOTSET") == "SAME_UPPER"
    begins: list[int] = []
    ends: list[int] = []
    for axis in range(2):
        reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        total = window.strides[axis] * (picture[axis] - 1) + more[axis] + reach - target[axis]
        if total < 0:  # rows that no window reaches
            more[axis], total = more[axis] - total, 0
        begins.append(total // 2 if upper else total - total // 2)
        ends.append(total - begins[-1])
    return (*begins, *ends)
