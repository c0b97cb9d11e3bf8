"""Pooling: the places of the window one after the other."""

from __future__ import annotations

import numpy as np

from featherweight.runtime.operations.pooling import pool as shape_of
from featherweight.runtime.operations.schema import Call
from featherweight.runtime.reference.convolution import taps
from featherweight.runtime.reference.kernel import Array, Run, kernels


def _padded(run: Run, x: Array, value: float, out: tuple[int, int]) -> Array:
    """Return the picture with its padding, and with what windows beyond it need (``ceil``), of ``value``."""
    top, left, bottom, right = run.attributes["pads"]
    kernel, dilations = run.attributes["kernel"], run.attributes.get("dilations", (1, 1))
    reach = [
        (out[a] - 1) * run.attributes["strides"][a] + dilations[a] * (kernel[a] - 1) + 1 for a in range(2)
    ]
    more = (max(bottom, reach[0] - x.shape[2] - top), max(right, reach[1] - x.shape[3] - left))
    return np.pad(x, ((0, 0), (0, 0), (top, more[0]), (left, more[1])), constant_values=value)


def _out_size(run: Run) -> tuple[int, int]:
    shape = shape_of(Call(run.attributes, [run.inputs[0].shape], {}, "pool"))
    return int(shape[2]), int(shape[3])  # pyright: ignore[reportArgumentType]


@kernels.register("max_pool")
def max_pool(run: Run) -> Array:
    """Padding never wins."""
    out = _out_size(run)
    x = _padded(run, run.inputs[0], -np.inf, out)
    places = taps(run, run.attributes["kernel"], out)
    return np.max(np.stack([x[..., rows, columns] for _, _, (rows, columns) in places]), axis=0)


@kernels.register("average_pool")
def average_pool(run: Run) -> Array:
    """The sum over the window by how many of its places count: pixels, and padding for ``count_pads``."""
    out = _out_size(run)
    counts = np.ones_like(run.inputs[0])
    if run.attributes["count_pads"]:
        top, left, bottom, right = run.attributes["pads"]
        counts = np.pad(counts, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=1)
        missing = Run({**run.attributes, "pads": (0, 0, 0, 0)}, [counts], {})
        counts = _padded(missing, counts, 0, out)
    else:
        counts = _padded(run, counts, 0, out)
    x = _padded(run, run.inputs[0], 0, out)
    places = list(taps(run, run.attributes["kernel"], out))
    total = sum(x[..., rows, columns] for _, _, (rows, columns) in places)
    return np.asarray(total / sum(counts[..., rows, columns] for _, _, (rows, columns) in places))


@kernels.register("global_average_pool")
def global_average_pool(run: Run) -> Array:
    """The mean of each channel."""
    return run.inputs[0].mean(axis=(2, 3), keepdims=True)


@kernels.register("global_max_pool")
def global_max_pool(run: Run) -> Array:
    """The largest of each channel."""
    return run.inputs[0].max(axis=(2, 3), keepdims=True)
