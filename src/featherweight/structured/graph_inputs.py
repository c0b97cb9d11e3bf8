"""What a graph was traced with: other inputs are refused, since numbers computed from sizes stand in a graph.

Only the batch may be free: the first dimension of every tensor in which it is that of the first tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves

from featherweight.core.trace import Example, as_arguments
from featherweight.errors import ModelError

_CONSTANTS = (bool, int, float, str, type(None))


def batch_of(example: Example) -> int | None:
    """Return the size of the first dimension of the first tensor that has one."""
    sizes = (value.shape[0] for value in tree_leaves(as_arguments(example)) if _has_first(value))
    return next(sizes, None) or None


def has_batch(value: Any, batch: int | None) -> bool:
    """Whether a value is a tensor whose first dimension is of the size of the batch."""
    return batch is not None and _has_first(value) and value.shape[0] == batch


def _has_first(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


@dataclass(frozen=True)
class _Leaf:
    """A tensor or constant of the inputs; ``shape`` and ``kind`` of a tensor, ``written`` of a constant."""

    shape: tuple[int, ...] | None = None
    kind: str = ""
    written: str | None = None

    @classmethod
    def of(cls, value: Any) -> _Leaf:
        if isinstance(value, Tensor):
            return cls(tuple(value.shape), _kind(value.dtype))
        return cls(written=repr(value) if type(value) in _CONSTANTS else None)

    def takes(self, value: Any, first: int | None) -> bool:
        """Whether ``value`` is as this; ``first``: the size of its first dimension instead, if any."""
        if self.shape is None:
            return not isinstance(value, Tensor) and self.written in (None, repr(value))
        if not isinstance(value, Tensor) or value.ndim != len(self.shape) or _kind(value.dtype) != self.kind:
            return False
        expected = self.shape if first is None else (first, *self.shape[1:])
        return all(a == b for a, b in zip(value.shape, expected, strict=True))

    def described(self, first: Any = None) -> str:
        if self.shape is None:
            return self.written or "no tensor"
        sizes = self.shape if first is None else (first, *self.shape[1:])
        return f"{self.kind} of shape ({', '.join(str(size) for size in sizes)})"


@dataclass(frozen=True)
class Inputs:
    """The inputs that a graph takes.

    Attributes:
        names: of the arguments of its forward, in order.
        leaves: what it was traced with: the tensors and constants in the arguments, by their place.
        batch: the size of the batch, if one was found.
        free: whether the batch may be of another size.
    """

    names: tuple[str, ...]
    leaves: Mapping[str, _Leaf]
    batch: int | None
    free: bool

    @classmethod
    def of(cls, names: Sequence[str], example: Example, batch: int | None, *, free: bool) -> Inputs:
        """Return those of a graph that was traced with ``example``."""
        leaves = {place: _Leaf.of(value) for place, value in _leaves(names, *as_arguments(example))}
        return cls(tuple(names), leaves, batch, free)

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise ModelError where the arguments of a call are not what the graph takes."""
        given = dict(_leaves(self.names, args, kwargs))
        if given.keys() != self.leaves.keys():
            raise ModelError(
                f"This network is a graph that was traced with the inputs {', '.join(self.leaves)}; got "
                f"{', '.join(given) or 'none'}. Give it those, or cut it again with example inputs like "
                f"those that it will run with."
            )
        batches = (given[place].shape[0] for place in self._with_batch() if _has_first(given[place]))
        first = next(batches, None) if self.free else None
        for place, leaf in self.leaves.items():
            has_batch = place in self._with_batch()
            if not leaf.takes(given[place], first if has_batch else None):
                raise self._refusal(place, given[place], first if has_batch else None)

    def _with_batch(self) -> tuple[str, ...]:
        if self.batch is None:
            return ()
        return tuple(place for place, leaf in self.leaves.items() if (leaf.shape or (None,))[0] == self.batch)

    def _refusal(self, place: str, value: Any, first: int | None) -> ModelError:
        leaf = self.leaves[place]
        again = "Cut it again with example inputs of the size that it will run with."
        has_batch = not self.free and place in self._with_batch() and _has_first(value)
        if has_batch and leaf.takes(value, value.shape[0]):
            return ModelError(
                f"This network is a graph in which a batch of {self.batch} is written, as of the example "
                f"inputs it was cut with; got a batch of {value.shape[0]}. {again}"
            )
        return ModelError(
            f"This network is a graph in which the sizes of its inputs are written, as of the example inputs "
            f"it was cut with: {place} is {leaf.described(first)}; got "
            f"{_Leaf.of(value).described() if isinstance(value, Tensor) else repr(value)[:40]}. {again}"
        )


def _leaves(
    names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield the tensors and constants in the arguments, by argument and place in it."""
    more = [f"input {number}" for number in range(len(names), len(args))]
    for name, value in {**dict(zip([*names, *more], args, strict=False)), **kwargs}.items():
        for path, leaf in tree_flatten_with_path(value)[0]:
            yield name + keystr(path), leaf


def _kind(dtype: torch.dtype) -> str:
    """Return what may stand for a type: the precision of floats, and the width of whole numbers, are free."""
    if dtype.is_floating_point:
        return "floats"
    if dtype.is_complex:
        return "complex numbers"
    return "truth values" if dtype == torch.bool else "whole numbers"
