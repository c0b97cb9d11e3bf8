"""Patterns: the shapes that zeros may have. Importing this package registers them all."""

from featherweight.sparsity.patterns._base import FromFunction, Pattern, RowPattern, patterns, row_pattern
from featherweight.sparsity.patterns.blocks import Blocks
from featherweight.sparsity.patterns.n_of_m import NM
from featherweight.sparsity.patterns.per_output import PerOutput
from featherweight.sparsity.patterns.unstructured import unstructured

__all__ = [
    "NM",
    "Blocks",
    "FromFunction",
    "Pattern",
    "PerOutput",
    "RowPattern",
    "patterns",
    "row_pattern",
    "unstructured",
]
