"""Writing at places given by tensors: the dimension that is written along must stay as it is."""

from __future__ import annotations

import numpy as np

from featherweight.structured.rules._base import Axes, Flow, rule
from featherweight.structured.rules.pointwise import broadcast


@rule(
    "scatter.src", "scatter.value", "scatter.reduce", "scatter.value_reduce", "scatter_.src",
    "scatter_.value", "scatter_add.default", "scatter_add_.default", "scatter_reduce.two",
    "scatter_reduce_.two",
)  # fmt: skip
def scatter(flow: Flow) -> list[Axes]:
    """Along one dimension, at places that differ along the others."""
    axes, dim = flow.axes("self"), flow.dim()
    others = [flow.axes(name) for name in ("index", "src") if name in flow.call.arguments]
    flow.freeze((each[dim] for each in (axes, *others)), "written by index")
    for d in range(len(axes)):
        here = [each[d] for each in (axes, *others)]
        if d != dim and len({len(axis) for axis in here}) > 1:
            flow.freeze(here, "written by index")
        elif d != dim:
            for axis in here[1:]:
                flow.unite(here[0], axis)
    return [axes]


@rule(
    "index_add.default", "index_add_.default", "index_copy.default", "index_copy_.default",
    "index_fill.int_Scalar", "index_fill.int_Tensor", "index_fill_.int_Scalar", "index_fill_.int_Tensor",
    "index_reduce.default",
)  # fmt: skip
def index_write(flow: Flow) -> list[Axes]:
    """Whole entries along one dimension."""
    axes, dim = flow.axes("self"), flow.dim()
    flow.freeze([axes[dim]], "written by index")
    if flow.has("source"):
        source = flow.axes("source")
        flow.freeze([source[dim]], "written by index")
        for d in range(len(axes)):
            if d != dim:
                flow.unite(axes[d], source[d])
    return [axes]


@rule("index_put.default", "index_put_.default")
def index_put(flow: Flow) -> list[Axes]:
    """Entries at places given by tensors, one for each indexed dimension."""
    axes = flow.axes("self")
    indexed = [d for d, ref in enumerate(flow["indices"]) if ref is not None]
    flow.freeze((axes[d] for d in indexed), "written by index")
    shape = np.broadcast_shapes(*(flow.shapes[ref.name] for ref in flow["indices"] if ref is not None))
    places = broadcast(flow, flow.all_axes("indices"), shape)
    kept = [axis for d, axis in enumerate(axes) if d not in indexed]
    first = indexed[0] if indexed == list(range(indexed[0], indexed[-1] + 1)) else 0
    written = [*kept[:first], *places, *kept[first:]]
    broadcast(flow, [written, flow.axes("values")], tuple(map(len, written)))
    return [axes]
