"""Batch-norm scale: ``|gamma|`` (network slimming: Liu et al. 2017, https://arxiv.org/abs/1708.06519).

A group without a batch norm is scored by L2.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]

from featherweight.structured.groups import Group
from featherweight.structured.importance._base import Context, UnitScores, importances
from featherweight.structured.importance.l2 import l2


@importances.register("bn_scale")
def bn_scale(group: Group, context: Context) -> UnitScores:
    """Score units by the scales of their batch norms."""
    total, found = np.zeros(len(group)), False
    for place, indices in zip(group.places, group.indices, strict=True):
        path, _, name = place.tensor.rpartition(".")
        if name == "weight" and isinstance(context.model.get_submodule(path), _NormBase):
            scale = context.tensors[place.tensor].detach().abs().double().cpu()
            total += scale[torch.from_numpy(indices)].sum(1).numpy()
            found = True
    return total if found else l2(group, context)
