"""A network that is as it was after a block, or after a block that failed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def unchanged(model: nn.Module) -> Generator[None]:
    """Give modules their attributes, and parameters and buffers their values, back after the block."""
    restore = _restoring(model)
    try:
        yield
    finally:
        restore()


@contextmanager
def unchanged_on_failure(model: nn.Module) -> Generator[None]:
    """Give them back if the block fails."""
    restore = _restoring(model)
    try:
        yield
    except BaseException:
        restore()
        raise


def _restoring(model: nn.Module) -> Callable[[], None]:
    """Return what puts everything back as it is now.

    Lists and the like in attributes are not looked into; of what TorchScript made, values alone come back.
    """
    tensors = [(t, t.detach().clone()) for t in (*model.parameters(), *model.buffers())]
    own = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    modules = [(module, dict(vars(module))) for module in own]
    kinds = ("_parameters", "_buffers", "_modules")
    named = [(entries, dict(entries)) for _, found in modules for entries in (found[kind] for kind in kinds)]

    def restore() -> None:
        for owner, before in [*((vars(module), found) for module, found in modules), *named]:
            owner.clear()
            owner.update(before)
        with torch.no_grad():
            for tensor, values in tensors:
                tensor.copy_(values)

    return restore
