"""What moves elements, and resize.

resize, along one axis, with s = out / in, or the scale given: output place o stands for input place
asymmetric o / s, half_pixel (o + 0.5) / s - 0.5, align_corners o (in - 1) / (out - 1); pytorch_half_pixel is
half_pixel, but 0 where out is 1. "nearest" rounds it, "linear" weighs both neighbours.
"""

from __future__ import annotations

import numpy as np

from featherweight.runtime.reference.kernel import Array, Run, kernels


@kernels.register("concat")
def concat(run: Run) -> Array:
    """One after the other."""
    return np.concatenate(run.inputs, axis=run.attributes["axis"])


@kernels.register("slice")
def slice_(run: Run) -> Array:
    """Numpy's own."""
    x, parts = run.inputs[0], run.attributes
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(
        parts["starts"], parts["ends"], parts["axes"], parts["steps"], strict=True
    ):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


@kernels.register("pad")
def pad(run: Run) -> Array:
    """Numpy's own."""
    x, pads, mode = run.inputs[0], run.attributes["pads"], run.attributes["mode"]
    widths = list(zip(pads[: x.ndim], pads[x.ndim :], strict=True))
    if mode == "constant":
        return np.pad(x, widths, constant_values=run.attributes["value"])
    return np.pad(x, widths, mode=mode)


@kernels.register("resize")
def resize(run: Run) -> Array:
    """One axis after the other: each is a matrix (out, in)."""
    x, sizes = run.inputs[0], run.attributes.get("sizes")
    for axis in range(2):
        length = x.shape[2 + axis]
        if sizes is not None:
            out, scale = sizes[axis], sizes[axis] / length
        else:
            scale = run.attributes["scales"][axis]
            out = int(np.floor(length * scale))
        x = np.moveaxis(np.moveaxis(x, 2 + axis, -1) @ _weights(run, length, out, scale).T, -1, 2 + axis)
    return x


def _weights(run: Run, length: int, out: int, scale: float) -> Array:
    at = _places(run.attributes["coordinates"], length, out, scale)
    weights = np.zeros((out, length))
    if run.attributes["mode"] == "nearest":
        weights[np.arange(out), np.clip(_rounded(at, run.attributes["rounding"]), 0, length - 1)] = 1
        return weights
    at = np.clip(at, 0, length - 1)
    low = np.minimum(np.floor(at).astype(int), length - 1)
    high = np.minimum(low + 1, length - 1)
    np.add.at(weights, (np.arange(out), low), 1 - (at - low))
    np.add.at(weights, (np.arange(out), high), at - low)
    return weights


def _places(coordinates: str, length: int, out: int, scale: float) -> Array:
    """Where the output's pixels lie, in float32 as engines do: at borders of pixels that decides."""
    places, scale = np.arange(out, dtype=np.float32), np.float32(scale)  # pyright: ignore[reportAssignmentType]
    if scale == 1 and out == length:
        return places
    if coordinates == "asymmetric":
        return places / scale
    if coordinates == "align_corners":
        return places * np.float32(length - 1) / np.float32(out - 1) if out > 1 else np.zeros(out)
    if coordinates == "pytorch_half_pixel" and out == 1:
        return np.zeros(out)
    return (places + np.float32(0.5)) / scale - np.float32(0.5)


def _rounded(at: Array, rounding: str) -> Array:
    if rounding == "floor":
        return np.floor(at).astype(int)
    if rounding == "ceil":
        return np.ceil(at).astype(int)
    if rounding == "round_prefer_floor":
        return np.ceil(at - 0.5).astype(int)
    return np.floor(at + 0.5).astype(int)


@kernels.register("reshape")
def reshape(run: Run) -> Array:
    """0 copies a size, -1 is inferred."""
    x = run.inputs[0]
    return x.reshape(
        [x.shape[axis] if size == 0 else size for axis, size in enumerate(run.attributes["shape"])]
    )


@kernels.register("transpose")
def transpose(run: Run) -> Array:
    """Numpy's own."""
    return run.inputs[0].transpose(run.attributes["permutation"])


@kernels.register("depth_to_space")
def depth_to_space(run: Run) -> Array:
    """Channel (i, j, c) or (c, i, j) of a pixel becomes pixel (i, j) of its block."""
    x, block = run.inputs[0], run.attributes["block"]
    n, c, h, w = x.shape
    if run.attributes["mode"] == "DCR":
        x = x.reshape(n, block, block, c // block**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // block**2, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // block**2, h * block, w * block)


@kernels.register("channel_shuffle")
def channel_shuffle(run: Run) -> Array:
    """The first channels of all groups, then the second ones: (groups, channels of a group) transposed."""
    x, groups = run.inputs[0], run.attributes["groups"]
    n, c, *sizes = x.shape
    return x.reshape(n, groups, c // groups, *sizes).swapaxes(1, 2).reshape(x.shape)
