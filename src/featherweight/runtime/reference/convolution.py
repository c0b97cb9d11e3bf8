"""Convolutions and products: one product of matrices for each tap of the window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherweight.runtime.reference.kernel import Array, Run, kernels


def taps(
    run: Run, kernel: tuple[int, int], out: tuple[int, int]
) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
    """Yield each place of the window, and where all windows have it in the padded picture."""
    strides, dilations = run.attributes["strides"], run.attributes.get("dilations", (1, 1))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            begins = (i * dilations[0], j * dilations[1])
            rows, columns = (
                slice(begin, begin + stride * (size - 1) + 1, stride)
                for begin, stride, size in zip(begins, strides, out, strict=True)
            )
            yield i, j, (rows, columns)


def window_counts(run: Run, padded: tuple[int, int], kernel: tuple[int, int]) -> tuple[int, int]:
    """Return how many windows fit into a padded picture."""
    dilations = run.attributes.get("dilations", (1, 1))
    counts = [
        (padded[axis] - dilations[axis] * (kernel[axis] - 1) - 1) // run.attributes["strides"][axis] + 1
        for axis in range(2)
    ]
    return counts[0], counts[1]


def _with_bias(run: Run, out: Array) -> Array:
    if "bias" not in run.constants:
        return out
    return out + run.constants["bias"][:, None, None]


@kernels.register("conv")
def conv(run: Run) -> Array:
    """Sum over channels of the group and places of the window."""
    x, weight, groups = run.inputs[0], run.constants["weight"], run.attributes["groups"]
    top, left, bottom, right = run.attributes["pads"]
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    n, c, *padded = x.shape
    kernel = (weight.shape[2], weight.shape[3])
    size = window_counts(run, (padded[0], padded[1]), kernel)
    out = np.zeros((n, groups, weight.shape[0] // groups, *size))
    x = x.reshape(n, groups, c // groups, *padded)
    weight = weight.reshape(groups, -1, *weight.shape[1:])
    for i, j, (rows, columns) in taps(run, kernel, size):
        out += np.einsum("ngchw,gmc->ngmhw", x[..., rows, columns], weight[..., i, j], optimize=True)
    return _with_bias(run, out.reshape(n, -1, *size))


@kernels.register("conv_transpose")
def conv_transpose(run: Run) -> Array:
    """Every input pixel adds its window to the output; padding is what is cut off."""
    x, weight, groups = run.inputs[0], run.constants["weight"], run.attributes["groups"]
    n, c, *size = x.shape
    kernel = (weight.shape[2], weight.shape[3])
    full = [
        (size[a] - 1) * run.attributes["strides"][a] + run.attributes["dilations"][a] * (kernel[a] - 1) + 1
        for a in range(2)
    ]
    more = run.attributes["output_pads"]
    out = np.zeros((n, groups, weight.shape[1], full[0] + more[0], full[1] + more[1]))
    x = x.reshape(n, groups, c // groups, *size)
    weight = weight.reshape(groups, c // groups, *weight.shape[1:])
    for i, j, (rows, columns) in taps(run, kernel, (size[0], size[1])):
        out[..., rows, columns] += np.einsum("ngchw,gcm->ngmhw", x, weight[..., i, j], optimize=True)
    top, left, bottom, right = run.attributes["pads"]
    out = out[..., top : out.shape[-2] - bottom, left : out.shape[-1] - right]
    return _with_bias(run, out.reshape(n, -1, *out.shape[-2:]))


@kernels.register("linear")
def linear(run: Run) -> Array:
    """Rows of x times rows of the weight."""
    out = run.inputs[0] @ run.constants["weight"].T
    return out + run.constants["bias"] if "bias" in run.constants else out


@kernels.register("matmul")
def matmul(run: Run) -> Array:
    """Numpy's own."""
    return run.inputs[0] @ run.inputs[1]
