"""What scales the MobileNets: the width multiplier, and the stride from the image to the last map."""

from __future__ import annotations

import math
from collections.abc import Sequence

from featherweight.errors import SettingError


def to_stride(strides: Sequence[int], total: int) -> tuple[int, ...]:
    """Return ``strides``, each 1 or 2, with the first of the 2s made 1, so that their product is ``total``.

    Raises:
        SettingError: ``total`` is no power of 2 up to the product of all.
    """
    most = math.prod(strides)
    choices = [2**power for power in range(most.bit_length())]
    if isinstance(total, bool) or total not in choices:
        raise SettingError(f"stride is one of {', '.join(map(str, choices))}, got {total!r}.")
    found = list(strides)
    while math.prod(found) > total:
        found[found.index(2)] = 1
    return tuple(found)


def to_eights(channels: float) -> int:
    """Return the multiple of 8 nearest to ``channels``, no less than 8 and 0.9 of it, as MobileNet v2."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
