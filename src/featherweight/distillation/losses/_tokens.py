"""What the losses of language models share: which positions count, and what is predicted there.

Logits at position i of a causal model tell the token at i + 1, and its labels are the inputs themselves, as
Hugging Face's models take them: the label of position i stands at i + 1. Student and teacher are compared at
the same position, so that logits are never shifted, but what says whether a position counts is::

    causal       i counts where neither i nor i + 1 is padding, and the label at i + 1 is not -100
    not causal   i counts where it is not padding, and the label at i is not -100

The last position of a causal model has no label. Without any labels, all that is not padding counts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from featherweight.core.batches import UNLABELLED
from featherweight.distillation.losses._base import Lesson
from featherweight.errors import ModelError


def token_logits(logits: Tensor | None, name: str) -> Tensor:
    """Return the logits (n, tokens, vocabulary) of "student" or "teacher"; raises ModelError for others."""
    if logits is None:
        raise ModelError(f"The {name}'s output has no logits, and this loss reads logits.")
    if logits.dim() != 3:
        raise ModelError(
            f"This loss reads logits (n, tokens, vocabulary), got {tuple(logits.shape)} from the {name}: "
            f"logits of one class per example have the loss 'kd'."
        )
    return logits


def labels_at(lesson: Lesson, shape: tuple[int, int], causal: bool) -> Tensor:
    """Return what is to be told at each position: labels (n, tokens), UNLABELLED where it does not count.

    Without labels, 0 stands where a position counts.

    Raises:
        ModelError: labels or mask are not (n, tokens).
    """
    mask = _fitting("mask", lesson.mask, shape)
    if lesson.targets is None:
        labels = torch.zeros(shape, dtype=torch.long) if mask is None else torch.zeros_like(mask).long()
        return labels if mask is None else labels.where(mask != 0, UNLABELLED)
    labels = _fitting("labels", lesson.targets, shape)
    assert labels is not None
    if mask is not None:
        labels = labels.where(mask != 0, UNLABELLED)
    if not causal:
        return labels
    labels = F.pad(labels[:, 1:], (0, 1), value=UNLABELLED)
    return labels if mask is None else labels.where(mask != 0, UNLABELLED)


def _fitting(name: str, given: Tensor | None, shape: tuple[int, int]) -> Tensor | None:
    if given is not None and tuple(given.shape) != shape:
        raise ModelError(
            f"The {name} of this loss must have one entry for each token of the logits, {shape}; got "
            f"{tuple(given.shape)}."
        )
    return given
