"""Structured pruning: whole channels, heads and layers are removed, and tensors get smaller."""

from featherweight.structured import importance
from featherweight.structured.batch_norm import reestimate_batch_norm
from featherweight.structured.prune import Surgery, prune_structured

__all__ = ["Surgery", "importance", "prune_structured", "reestimate_batch_norm"]
