"""Scaled dot-product attention: ``softmax(q k^T / sqrt(e)) v``, batch dimensions first (heads among them)."""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, rule
from featherweight.structured.rules.pointwise import broadcast
from featherweight.structured.units import fixed


@rule("scaled_dot_product_attention.default")
def attention(flow: Flow) -> list[Axes]:
    """Q ``(..., l, e)``, k ``(..., s, e)``, v ``(..., s, ev)`` -> ``(..., l, ev)``."""
    query, key, value = flow.axes("query"), flow.axes("key"), flow.axes("value")
    if flow.call.arguments.get("enable_gqa"):
        key[-3], value[-3] = (_repeated(flow, axes, len(query[-3])) for axes in (key, value))
    flow.unite(query[-1], key[-1])
    flow.unite(key[-2], value[-2])
    flow.freeze([key[-2]], "softmax runs over it")
    if flow["scale"] is None:
        flow.freeze([query[-1]], "attention scales by its size")
    batch = broadcast(flow, [query[:-2], key[:-2], value[:-2]], flow.shape()[:-2])
    if flow.has("attn_mask"):
        scores = [*batch, query[-2], key[-2]]
        shape = tuple(len(axis) for axis in scores)
        broadcast(flow, [scores, flow.axes("attn_mask")], shape)
    return [[*batch, query[-2], value[-1]]]


def _repeated(flow: Flow, axes: Axes, heads: int):
    """Return the heads of key or value, each repeated for the query heads that share it."""
    return flow.units.merge([axes[-3], fixed(heads // len(axes[-3]))])
