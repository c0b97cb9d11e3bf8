"""Zeros of a pruned student, which are held while it learns."""

from __future__ import annotations

from torch import nn

from featherweight.core.masks import Masks
from featherweight.errors import ModelError


def zeros_of(model: nn.Module) -> Masks | None:
    """Return the masks that the zeros of a pruned ``model`` make; None where it has none.

    A weight that is zero throughout was initialised so, to be trained, and is not taken for a pruned one.
    """
    try:
        found = Masks.from_zeros(model)
    except ModelError:  # nothing in it is pruned, ever
        return None
    pruned = {name: mask for name, mask in found.items() if 0 < mask.kept < mask.numel}
    return Masks(pruned, found.left_alone) if pruned else None
