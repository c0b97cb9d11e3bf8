"""Criteria of depth: how much each block matters. Importing this package registers them all."""

from featherweight.structured.depth.importance import loss, similarity
from featherweight.structured.depth.importance._base import (
    BlockImportance,
    Scene,
    block_importances,
    mean_loss,
)

__all__ = ["BlockImportance", "Scene", "block_importances", "loss", "mean_loss", "similarity"]
