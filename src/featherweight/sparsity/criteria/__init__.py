"""Criteria: how much each weight matters. Importing this package registers them all."""

from featherweight.sparsity.criteria import magnitude, random
from featherweight.sparsity.criteria._base import Context, Criterion, Scores, criteria, layerwise

__all__ = ["Context", "Criterion", "Scores", "criteria", "layerwise", "magnitude", "random"]
