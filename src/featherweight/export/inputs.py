"""Example inputs, and which of their sizes stay free."""

from __future__ import annotations

import inspect
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from featherweight.core.trace import Example, as_arguments
from featherweight.errors import SettingError


def tensors_of(value: Any) -> list[Tensor]:
    """Return the tensors in nested tuples, lists and mappings, in order."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def as_arrays(example: Example) -> tuple[npt.NDArray[Any], ...]:
    """Return the tensors of example inputs as numpy arrays."""
    return tuple(tensor.detach().cpu().numpy() for tensor in tensors_of(as_arguments(example)))


def with_batch(example: Example, batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with another batch size: images are repeated, or left out.

    Raises:
        SettingError: the inputs have no common first size.
    """
    args, kwargs = as_arguments(example)
    sizes = {tensor.shape[0] for tensor in tensors_of((args, kwargs)) if tensor.ndim}
    if len(sizes) != 1:
        raise SettingError(
            f"The first sizes of the inputs are {sorted(sizes)}: there is no one batch size to leave free. "
            "Pass dynamic_batch=False."
        )

    def repeated(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.ndim:
            return leaf
        return torch.cat([leaf] * -(-batch // leaf.shape[0]))[:batch]

    return tree_map(repeated, args), tree_map(repeated, kwargs)


def free_batch(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return torch.export's ``dynamic_shapes`` that leave the first size of every tensor free."""
    dim = torch.export.Dim("batch")

    def free(leaf: Any) -> Any:
        return {0: dim} if isinstance(leaf, Tensor) and leaf.ndim else None

    signature = inspect.signature(model.forward)
    any_number = any(each.kind is each.VAR_POSITIONAL for each in signature.parameters.values())
    if not kwargs and not any_number:
        return tree_map(free, args)
    bound = signature.bind(*args, **kwargs).arguments
    return {name: tree_map(free, value) for name, value in bound.items()}
