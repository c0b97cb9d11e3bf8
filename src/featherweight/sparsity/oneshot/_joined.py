"""All batches as one, on which the network need run but once to show what reaches one layer after the other.

They can be joined where they differ in nothing but their first dimension, and where it makes no difference to
the network: see ``_trial``. Sequences of several lengths are padded where an "attention_mask", the form of
Hugging Face, says what is padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from featherweight.core.batches import (
    LABELS,
    UNLABELLED,
    device_of,
    inputs_of,
    mapped,
    moved,
    tensors_in,
)
from featherweight.core.prunable import PrunableWeight
from featherweight.sparsity.oneshot._trial import Trial

_MASK = "attention_mask"
_TRIED = 4  # examples of the first and of the last batch


class NotJoinedError(Exception):
    """Batches cannot be joined; says why."""


def joined(model: nn.Module, weights: Sequence[PrunableWeight], batches: Sequence[Any], limit: float) -> Any:
    """Return all batches as one.

    Args:
        model: the network, which is tried on a few examples, and is as it was afterwards.
        weights: those of the layers that must get the same.
        batches: of data=, or inputs alone; at least one. A single one is what it is.
        limit: bytes that the network may take on all of them, as estimated from the examples.

    Raises:
        NotJoinedError: they cannot be joined.
    """
    if len(batches) == 1:
        return batches[0]
    given = [batch if isinstance(batch, Mapping) else (inputs_of(batch), None) for batch in batches]
    sizes = [_size(batch) for batch in given]
    first, last = (moved(mapped(_few, batch), device_of(model)) for batch in (given[0], given[-1]))
    together = _cat(_padded([first, last]))
    try:
        trial = Trial.of(model, weights, (first, last), together)
    except Exception as error:  # a network may be made for so many examples, and fail in any way on others
        raise NotJoinedError(f"on a few of the examples the network fails: {error}") from error
    if trial.difference:
        raise NotJoinedError(trial.difference)
    needed = trial.bytes(_size(first), _size(last), sum(sizes))
    if needed > limit:
        raise NotJoinedError(
            f"together they would take about {needed / 2**20:,.0f} MiB, over memory_limit="
            f"{limit / 2**20:,.0f} MiB"
        )
    return _cat(_padded(given))


def _size(batch: Any) -> int:
    """Return how many examples a batch has."""
    tensors = list(tensors_in(batch))
    if any(tensor.layout is not torch.strided or tensor.is_nested for tensor in tensors):
        raise NotJoinedError("there are sparse or nested tensors in a batch")
    sizes = {len(tensor) if tensor.ndim else 0 for tensor in tensors}
    if len(sizes) != 1 or 0 in sizes:
        raise NotJoinedError("there are tensors in a batch that do not have an entry for each example")
    return sizes.pop()


def _few(leaf: Any) -> Any:
    """Return a tensor of some entries, from its first to its last."""
    if not isinstance(leaf, Tensor) or len(leaf) <= _TRIED:
        return leaf
    return leaf[torch.linspace(0, len(leaf) - 1, _TRIED).long().to(leaf.device)]


def _padded(batches: Sequence[Any]) -> list[Any]:
    """Return mappings with entries that are as long as their "attention_mask" padded to the longest one."""
    masks = [batch.get(_MASK) if isinstance(batch, Mapping) else None for batch in batches]
    lengths = [mask.shape[1] for mask in masks if isinstance(mask, Tensor) and mask.ndim == 2]
    if len(lengths) < len(batches):
        return list(batches)
    more = [max(lengths) - length for length in lengths]
    return [
        {name: _longer(name, value, batch[_MASK].shape, m) for name, value in batch.items()}
        for batch, m in zip(batches, more, strict=True)
    ]


def _longer(name: str, value: Any, shape: torch.Size, more: int) -> Any:
    if not isinstance(value, Tensor) or value.shape[:2] != shape:
        return value
    sides = [0, 0] * (value.ndim - 2) + [0, more]
    return F.pad(value, sides, value=UNLABELLED if name == LABELS else 0)


def _cat(parts: Sequence[Any]) -> Any:
    """Return things of the same form as one whose tensors are longer."""
    first = parts[0]
    if any(type(part) is not type(first) for part in parts):
        raise NotJoinedError("batches are of several types")
    if isinstance(first, Tensor):
        if len({(part.dtype, part.shape[1:]) for part in parts}) > 1:
            raise NotJoinedError("batches differ in shape or type, as sequences of several lengths do")
        return torch.cat(list(parts))
    if isinstance(first, Mapping):
        names = cast("Mapping[str, Any]", first).keys()
        if any(part.keys() != names for part in parts):
            raise NotJoinedError("batches have several sets of entries")
        return {name: _cat([part[name] for part in parts]) for name in names}
    if isinstance(first, tuple | list) and not isinstance(first, PackedSequence):
        things = cast("list[Any]", first)
        if any(len(part) != len(things) for part in parts):
            raise NotJoinedError("batches are of several lengths")
        if things and not any(True for _ in tensors_in(things)):  # each may be of an example
            raise NotJoinedError(f"a batch holds a {type(first).__name__} without tensors")
        values = [_cat(each) for each in zip(*parts, strict=True)]
        made: Any = getattr(cast("Any", type(things)), "_make", type(things))  # of a named tuple
        return made(values)
    if not isinstance(first, int | float | str | None):
        raise NotJoinedError(f"a batch holds a {type(first).__name__}")
    if any(part != first for part in parts):
        raise NotJoinedError(f"batches hold a {type(first).__name__} each that differs")
    return first
