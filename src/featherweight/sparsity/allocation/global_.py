"""Global: one threshold for the whole network; the layers' densities follow from their scores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from featherweight.core.mask import kth_largest
from featherweight.sparsity.allocation._base import allocations


@allocations.register("global")
def global_(scores: Mapping[str, Tensor], kept: int) -> dict[str, int]:
    """Keep the highest scores wherever they are; of equal ones, those of the earlier layer."""
    if kept == 0:
        return dict.fromkeys(scores, 0)
    device = next(iter(scores.values())).device  # layers may be on several
    together = torch.cat([score.reshape(-1).to(device) for score in scores.values()])
    threshold = float(kth_largest(together, kept))
    counts = {name: int(torch.count_nonzero(score > threshold)) for name, score in scores.items()}
    missing = kept - sum(counts.values())
    for name, score in scores.items():
        ties = min(missing, int(torch.count_nonzero(score == threshold))) if missing else 0
        counts[name] += ties
        missing -= ties
    return counts
