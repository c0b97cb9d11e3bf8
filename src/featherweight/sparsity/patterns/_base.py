"""What a pattern is: which shapes of zeros are allowed. ``(scores, kept) -> Mask``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from featherweight._registry import Registry
from featherweight.core.mask import Mask

Pattern = Callable[[Tensor, int], Mask]

patterns: Registry[Pattern] = Registry("pattern")
