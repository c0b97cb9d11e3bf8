"""Branches: what is trained at a level, and what it is compared with. Importing this registers them all."""

from featherweight.sparsity.lottery.branches import (
    dense,
    one_shot,
    random_init,
    random_mask,
    shuffled_mask,
    ticket,
)
from featherweight.sparsity.lottery.branches._base import Branch, Start, Step, branches

__all__ = [
    "Branch",
    "Start",
    "Step",
    "branches",
    "dense",
    "one_shot",
    "random_init",
    "random_mask",
    "shuffled_mask",
    "ticket",
]
