"""Rules by family of operations: how dimensions move. Importing this package registers them all."""

from featherweight.structured.rules import (
    attention,
    convolution,
    creation,
    grids,
    indexing,
    joins,
    linear,
    norms,
    pointwise,
    pooling,
    recurrent,
    reductions,
    scatter,
    shapes,
    similarity,
)
from featherweight.structured.rules._base import Axes, Flow, Rule, Statistic, rule, rules

__all__ = [
    "Axes",
    "Flow",
    "Rule",
    "Statistic",
    "attention",
    "convolution",
    "creation",
    "grids",
    "indexing",
    "joins",
    "linear",
    "norms",
    "pointwise",
    "pooling",
    "recurrent",
    "reductions",
    "rule",
    "rules",
    "scatter",
    "shapes",
    "similarity",
]
