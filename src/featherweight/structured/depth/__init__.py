"""Depth: whole residual blocks and transformer layers are found in the graph, ranked, and removed."""

from featherweight.structured.depth.blocks import Block, find_blocks
from featherweight.structured.depth.importance import BlockImportance, Scene, block_importances
from featherweight.structured.depth.settings import Depth
from featherweight.structured.depth.skipped import Skipped

__all__ = ["Block", "BlockImportance", "Depth", "Scene", "Skipped", "block_importances", "find_blocks"]
