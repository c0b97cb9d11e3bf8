"""All rewrites, in turn, until none finds anything."""

from __future__ import annotations

import numpy as np

from featherweight.runtime.fusion.rewrite import rewrites, sweep, without_dead
from featherweight.runtime.graph import Graph

# Functions first, while their parts are apart; constants before what can take no constants afterwards.
ORDER = (
    "neutral",
    "function",
    "global pool",
    "constant to affine",
    "affine into weights",
    "constant into linear",
    "affine before convolution",
    "constant before linear",
    "pad into window",
    "normalize",
    "normalize before transpose",
    "channel shuffle",
    "product of split channels",
    "mean of split channels",
    "shape after shape",
    "function before shape",
    "sum before shape",
    "function into epilogue",
    "residual",
    "patches into linear",
)
_MOST_ROUNDS = 1000


def fuse(graph: Graph) -> Graph:
    """Return a graph of fewer operations that computes the same, but for rounding."""
    graph = without_dead(graph)
    with np.errstate(all="ignore"):  # infinities in weights are the network's own
        for _ in range(_MOST_ROUNDS):
            before = graph
            for name in ORDER:
                graph = sweep(graph, rewrites[name])
            if graph is before:
                break
    return graph
