"""Tensors made from nothing: no index of them is ever cut."""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, never_cut, rule


@rule(
    "arange.default", "arange.start", "arange.start_step", "zeros.default", "ones.default", "full.default",
    "empty.memory_format", "eye.default", "linspace.default", "scalar_tensor.default", "rand.default",
    "randn.default", "randint.default", "new_zeros.default", "new_ones.default", "new_full.default",
    "new_empty.default", "tril_indices.default", "triu_indices.default", "randperm.default",
)  # fmt: skip
def made(flow: Flow) -> list[Axes]:
    """A new tensor of a size that is written down."""
    return [never_cut(flow.shape())]
