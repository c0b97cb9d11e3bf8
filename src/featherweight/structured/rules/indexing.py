"""Indexing with tensors: the dimension that is looked up in must stay as it is."""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, never_cut, rule
from featherweight.structured.rules.pointwise import broadcast


@rule("embedding.default")
def embedding(flow: Flow) -> list[Axes]:
    """``(...) -> (..., channels)``, weight ``(entries, channels)``."""
    entries, channels = flow.axes("weight")
    flow.freeze([entries], "entries of an embedding")
    return [[*flow.axes("indices"), channels]]


@rule("index_select.default")
def index_select(flow: Flow) -> list[Axes]:
    """Entries along one dimension."""
    axes, dim = flow.axes("self"), flow.dim()
    flow.freeze([axes[dim]], "looked up by index")
    return [[*axes[:dim], *flow.axes("index"), *axes[dim + 1 :]]]


@rule("index.Tensor")
def index(flow: Flow) -> list[Axes]:
    """Entries at places given by tensors, one for each indexed dimension."""
    axes = flow.axes("self")
    given = flow["indices"]
    indexed = [d for d, ref in enumerate(given) if ref is not None]
    flow.freeze((axes[d] for d in indexed), "looked up by index")
    shape = flow.shape()
    kept = [axis for d, axis in enumerate(axes) if d not in indexed]
    looked_up = len(shape) - len(kept)
    adjoining = indexed == list(range(indexed[0], indexed[-1] + 1))
    first = indexed[0] if adjoining else 0
    places = broadcast(flow, flow.all_axes("indices"), shape[first : first + looked_up])
    return [[*kept[:first], *places, *kept[first:]]]


@rule("gather.default", "take_along_dim.default")
def gather(flow: Flow) -> list[Axes]:
    """Entries along one dimension, at places that differ along the others."""
    axes, dim = flow.axes("self"), flow.dim()
    places = flow.axes("index" if flow.has("index") else "indices")
    flow.freeze([axes[dim]], "looked up by index")
    for d, (mine, theirs) in enumerate(zip(axes, places, strict=True)):
        if d != dim and len(mine) == len(theirs):
            flow.unite(mine, theirs)
        elif d != dim:
            flow.freeze([mine], "looked up by index")
    return [places]


@rule("one_hot.default")
def one_hot(flow: Flow) -> list[Axes]:
    """``(...) -> (..., classes)``."""
    return [[*flow.axes("self"), *never_cut(flow.shape()[-1:])]]


@rule("embedding_bag.padding_idx", "embedding_bag.default")
def embedding_bag(flow: Flow) -> list[Axes]:
    """``(...) -> (bags, channels)``, weight ``(entries, channels)``; then what backward passes need."""
    entries, channels = flow.axes("weight")
    flow.freeze([entries], "entries of an embedding")
    bags, *others = [never_cut(flow.shape(output)) for output in range(len(flow.call.outputs))]
    return [[bags[0], channels], *others]
