"""Patterns: the shapes that zeros may have. Importing this package registers them all."""

from featherweight.sparsity.patterns import unstructured
from featherweight.sparsity.patterns._base import Pattern, patterns

__all__ = ["Pattern", "patterns", "unstructured"]
