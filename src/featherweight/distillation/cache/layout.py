"""Which arrays the views of a teacher are made of: a tensor that several views show is stored once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from featherweight.distillation.losses import Heads, View
from featherweight.errors import DataError


@dataclass(frozen=True)
class Slots:
    """Of which arrays one view is made, by number; each of ``attention`` is (query, key, value)."""

    logits: int | None
    features: tuple[int, ...]
    attention: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Layout:
    """The arrays of a cache.

    Attributes:
        names: of the arrays, unique, such as "0.logits".
        shapes: of one example's row in each.
        views: of which arrays each view is made.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    views: tuple[Slots, ...]

    @classmethod
    def of(cls, views: Sequence[View]) -> Layout:
        """Return the layout of the views of one batch.

        Raises:
            DataError: they show nothing, or tensors of differing numbers of examples.
        """
        numbers: dict[Any, int] = {}
        names: list[str] = []
        tensors: list[Tensor] = []

        def number(kind: str, tensor: Tensor) -> int:
            place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
            if place not in numbers:
                numbers[place] = len(names)
                names.append(f"{len(names)}.{kind}")
                tensors.append(tensor)
            return numbers[place]

        slots = tuple(
            Slots(
                None if view.logits is None else number("logits", view.logits),
                tuple(number("features", part) for part in view.features),
                tuple(
                    (number("query", heads.query), number("key", heads.key), number("value", heads.value))
                    for heads in view.attention
                ),
            )
            for view in views
        )
        if len({len(tensor) for tensor in tensors}) != 1:
            shown = [tuple(tensor.shape) for tensor in tensors]
            raise DataError(f"The teacher must give one row of each output per example; got shapes {shown}.")
        return cls(tuple(names), tuple(tuple(tensor.shape[1:]) for tensor in tensors), slots)

    def tensors(self, views: Sequence[View]) -> list[Tensor]:
        """Return the tensors of ``views``, one per array, in order.

        Raises:
            DataError: a row is of another shape than in this layout.
        """
        found: dict[int, Tensor] = {}
        for slots, view in zip(self.views, views, strict=True):
            parts = zip(_flat(slots), _tensors(view), strict=True)
            found.update((number, tensor) for number, tensor in parts if number not in found)
        for number, tensor in sorted(found.items()):
            if tuple(tensor.shape[1:]) != self.shapes[number]:
                raise DataError(
                    f"Output {self.names[number]!r} of the teacher is {self.shapes[number]} per example in "
                    f"the first batch and {tuple(tensor.shape[1:])} in a later one: a cache holds one size. "
                    f"Pad sequences to one length, resize images, or train without a cache."
                )
        return [found[number] for number in range(len(self.names))]

    def assemble(self, tensors: Sequence[Tensor]) -> tuple[View, ...]:
        """Return the views that are made of ``tensors``, one per array."""
        return tuple(
            View(
                None if slots.logits is None else tensors[slots.logits],
                tuple(tensors[number] for number in slots.features),
                tuple(Heads(*(tensors[number] for number in heads)) for heads in slots.attention),
            )
            for slots in self.views
        )

    @property
    def of_tokens(self) -> bool:
        """Whether an array may have a row for each token, so that the length of a sequence matters."""
        return any(len(shape) > 1 for shape in self.shapes)

    def row_bytes(self, width: int) -> int:
        """Return the bytes that one example takes in numbers of ``width`` bytes, with its key."""
        return 8 + sum(size_of(shape) * width for shape in self.shapes)


def size_of(shape: Sequence[int]) -> int:
    """Return the number of elements of ``shape``."""
    total = 1
    for size in shape:
        total *= size
    return total


def _flat(slots: Slots) -> list[int]:
    logits = [] if slots.logits is None else [slots.logits]
    return [*logits, *slots.features, *(number for heads in slots.attention for number in heads)]


def _tensors(view: View) -> list[Tensor]:
    logits = [] if view.logits is None else [view.logits]
    heads = [tensor for part in view.attention for tensor in (part.query, part.key, part.value)]
    return [*logits, *view.features, *heads]
