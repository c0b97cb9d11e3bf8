"""Pooling over one and two axes."""

from __future__ import annotations

from featherweight.runtime.lowering.builder import Builder
from featherweight.runtime.lowering.node import Node, handles
from featherweight.runtime.lowering.windows import as_picture, from_picture, window_of


@handles("MaxPool", "AveragePool")
def pool(node: Node, build: Builder) -> None:
    """The places of the largest, MaxPool's second output, are not made."""
    x = node.input(0)
    sizes = build.shape(x)[2:]
    window = window_of(node, sizes, node.get("kernel_shape", []))
    largest = node.op == "MaxPool"
    if not largest and window.dilations != (1, 1):
        raise node.refuse(f"dilations {window.dilations} of an average are not known")
    made = build.emit(
        "max_pool" if largest else "average_pool",
        [as_picture(build, x)],
        node.output if len(sizes) == 2 else None,
        kernel=window.kernel,
        strides=window.strides,
        pads=window.pads,
        ceil=bool(node.get("ceil_mode", 0)),
        dilations=window.dilations if largest else None,
        count_pads=None if largest else bool(node.get("count_include_pad", 0)),
    )
    from_picture(build, made, len(sizes), node.output)


@handles("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: Node, build: Builder) -> None:
    """(N, C, ...) gives (N, C, 1, ...)."""
    x = node.input(0)
    axes = len(build.shape(x)) - 2
    average = node.op == "GlobalAveragePool"
    if average and axes not in (1, 2):
        build.emit("reduce_mean", [x], node.output, axes=tuple(range(2, axes + 2)), keep=True)
        return
    op = "global_average_pool" if average else "global_max_pool"
    made = build.emit(op, [as_picture(build, x)], node.output if axes == 2 else None)
    from_picture(build, made, axes, node.output)
