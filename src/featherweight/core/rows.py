"""A weight as rows, ``(outputs, positions, inputs)``: what patterns and one-shot methods see of it.

A linear layer has one position, a convolution ``kh * kw`` of them; inputs are those of one group and change
fastest. So a block or a group of consecutive inputs lies along input channels, at one position: what
sparse kernels ask for (https://docs.nvidia.com/cuda/cusparselt).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def to_rows(weight: Tensor, output_dim: int, groups: int = 1) -> Tensor:
    """Return ``weight``, or scores or a mask of its shape, as (outputs, positions, inputs); the type stays.

    Args:
        weight: two or more dimensions: outputs and inputs, in either order, then the kernel.
        output_dim: which one counts the outputs, 0 or 1.
        groups: of a transposed convolution, whose weight is (groups * inputs, outputs of a group, kernel);
            1 for every other layer, whose weight holds the inputs of one group anyway.
    """
    if groups > 1:
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    else:
        weight = weight.movedim(output_dim, 0)
    return weight.reshape(*weight.shape[:2], -1).transpose(1, 2)


def from_rows(rows: Tensor, shape: Sequence[int], output_dim: int, groups: int = 1) -> Tensor:
    """Return ``rows`` as a tensor of ``shape``: the inverse of ``to_rows``."""
    weight = rows.transpose(1, 2)
    if groups > 1:
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
        return weight.reshape(tuple(shape))
    return weight.reshape(*weight.shape[:2], *shape[2:]).movedim(0, output_dim)


def rows_shape(shape: Sequence[int], output_dim: int, groups: int = 1) -> tuple[int, int, int]:
    """Return the shape of ``to_rows`` of a weight of ``shape``."""
    outputs, inputs = shape[output_dim] * groups, shape[1 - output_dim] // groups
    return outputs, math.prod(shape[2:]), inputs
