"""The naive reference: every operation in numpy, written to be read. What the native engine must do.

float32 in, float64 inside, float32 out: it is what results are compared with, not a way to run networks.
"""

from featherweight.runtime.reference import (
    convolution,
    pointwise,
    pooling,
    reducing,
    shaping,
)
from featherweight.runtime.reference.run import run

__all__ = [
    "convolution",
    "pointwise",
    "pooling",
    "reducing",
    "run",
    "shaping",
]
