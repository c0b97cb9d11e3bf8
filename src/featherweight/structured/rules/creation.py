"""Tensors made from nothing."""

from __future__ import annotations

from featherweight.structured.rules._base import Axes, Flow, never_cut, rule
from featherweight.structured.units import fixed


@rule(
    "zeros.default", "ones.default", "full.default", "empty.memory_format", "new_zeros.default",
    "new_ones.default", "new_full.default", "new_empty.default",
)  # fmt: skip
def alike(flow: Flow) -> list[Axes]:
    """All entries are the same, so that any number of them will do: as many as what they meet has."""
    return [[flow.units.fresh(size) if size > 1 else fixed(size) for size in flow.shape()]]


@rule(
    "arange.default", "arange.start", "arange.start_step", "eye.default", "eye.m", "linspace.default",
    "scalar_tensor.default", "rand.default", "randn.default", "randint.default", "tril_indices.default",
    "triu_indices.default", "randperm.default",
)  # fmt: skip
def counted(flow: Flow) -> list[Axes]:
    """Each entry has its own value: none is ever cut."""
    return [never_cut(flow.shape())]
