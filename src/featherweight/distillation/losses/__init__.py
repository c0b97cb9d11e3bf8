"""Distillation losses, one file each. Importing this package registers them all."""

from featherweight.core.batches import UNLABELLED
from featherweight.distillation.losses import (
    attention_transfer,
    cosine,
    crd,
    dist,
    dkd,
    hints,
    kd,
    minilm,
    mse,
    rkd,
    sequence,
    sp,
    tinybert,
    token,
)
from featherweight.distillation.losses._base import (
    DistillationLoss,
    Heads,
    Lesson,
    View,
    losses,
)

__all__ = [
    "UNLABELLED",
    "DistillationLoss",
    "Heads",
    "Lesson",
    "View",
    "attention_transfer",
    "cosine",
    "crd",
    "dist",
    "dkd",
    "hints",
    "kd",
    "losses",
    "minilm",
    "mse",
    "rkd",
    "sequence",
    "sp",
    "tinybert",
    "token",
]
