"""Rewrites of a Graph that keep what it computes: fewer operations, each with its epilogue."""

from featherweight.runtime.fusion import (
    constants,
    epilogue,
    functions,
    neutral,
    normalize,
    pads,
    patches,
    pools,
    residual,
    shapes,
    shuffle,
    split_channels,
)
from featherweight.runtime.fusion.fuse import fuse
from featherweight.runtime.fusion.rewrite import rewrites, sweep

__all__ = [
    "constants",
    "epilogue",
    "functions",
    "fuse",
    "neutral",
    "normalize",
    "pads",
    "patches",
    "pools",
    "residual",
    "rewrites",
    "shapes",
    "shuffle",
    "split_channels",
    "sweep",
]
