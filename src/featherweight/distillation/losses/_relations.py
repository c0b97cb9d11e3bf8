"""What the losses on relations between examples share."""

from __future__ import annotations

import torch
from torch import Tensor

from featherweight.distillation.losses._base import View
from featherweight.distillation.losses._features import Pair, feature_pairs
from featherweight.distillation.projectors import in_float32
from featherweight.errors import ModelError


def both_features(student: View, teacher: View) -> list[Pair]:
    """Return the pairs (student's, teacher's), in float32 or float64; raises ModelError as feature_pairs."""
    return [(in_float32(own), in_float32(goal)) for own, goal in feature_pairs(student, teacher)]


def pooled(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Return one vector per example: (n, width) as it is; tokens and maps as means over their positions.

    Padding, where ``mask`` (n, tokens) is False, is left out. Raises ModelError for other shapes.
    """
    if feature.dim() == 2:
        return feature
    if feature.dim() == 4:
        return feature.mean((2, 3))
    if feature.dim() != 3:
        raise ModelError(
            f"A feature is (n, width), (n, tokens, width) or (n, channels, height, width), got "
            f"{tuple(feature.shape)}."
        )
    if mask is None:
        return feature.mean(1)
    kept = _weights(feature, mask)
    return (feature * kept).sum(1) / kept.sum(1).clamp_min(1)


def flat(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Return all values of each example as one vector, those of padding as 0."""
    if feature.dim() == 3 and mask is not None:
        feature = feature * _weights(feature, mask)
    return feature.flatten(1)


def _weights(feature: Tensor, mask: Tensor) -> Tensor:
    if mask.shape != feature.shape[:2]:
        raise ModelError(
            f"The mask {tuple(mask.shape)} does not fit tokens of shape {tuple(feature.shape)}: expected "
            f"{tuple(feature.shape[:2])}."
        )
    return mask.to(feature.dtype).unsqueeze(2)


def unit(rows: Tensor) -> Tensor:
    """Return ``rows`` divided by their lengths along the last axis; a row of zeros stays, without gradient.

    ``torch.nn.functional.normalize`` gives a row of zeros a gradient of 1e12, which ends a training.
    """
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / length.masked_fill(length == 0, torch.inf)


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return the context in which products are not rounded to 16 bits, whatever autocast is on."""
    return torch.autocast(tensor.device.type, enabled=False)
