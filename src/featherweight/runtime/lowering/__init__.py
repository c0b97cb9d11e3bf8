"""ONNX networks as Graphs. The only part of the runtime that knows ONNX; it is imported only to compile."""

from featherweight.runtime.lowering import (
    activations,
    arithmetic,
    convolution,
    linear,
    norms,
    pooling,
    reducing,
    resizing,
    shaping,
    slicing,
)
from featherweight.runtime.lowering.lower import lower

__all__ = [
    "activations",
    "arithmetic",
    "convolution",
    "linear",
    "lower",
    "norms",
    "pooling",
    "reducing",
    "resizing",
    "shaping",
    "slicing",
]
