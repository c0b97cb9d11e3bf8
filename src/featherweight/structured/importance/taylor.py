"""First-order Taylor: how much the loss changes when a unit goes, ``|sum w dL/dw|`` in each tensor.

Molchanov et al. 2019, https://arxiv.org/abs/1906.10771. Needs data.
"""

from __future__ import annotations

import numpy as np

from featherweight.errors import SettingError
from featherweight.structured.groups import Group
from featherweight.structured.importance._base import Context, UnitScores, importances, slices


@importances.register("taylor")
def taylor(group: Group, context: Context) -> UnitScores:
    """Score units by the first-order change of the loss."""
    if not context.gradients:
        raise SettingError("criterion='taylor' looks at gradients: pass data=, batches of (inputs, targets).")
    products = {
        name: context.tensors[name].detach() * gradient for name, gradient in context.gradients.items()
    }
    total = np.zeros(len(group))
    for _, table in slices(group, products):
        total += table.sum(1).abs().double().cpu().numpy()
    return total
