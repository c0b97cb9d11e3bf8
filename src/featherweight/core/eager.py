"""Running what torch.compile compiled as it is written."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def eager() -> Generator[None]:
    """Run compiled networks, parts of them and functions operator by operator within the block.

    Compiled code hides its operations from those who watch them, and has no second derivative. Wrappers can
    be taken off, but not ``module.compile()``, nor what a network compiled of itself.
    """
    if "torch._dynamo" not in sys.modules:  # nothing can be compiled yet, and importing it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
