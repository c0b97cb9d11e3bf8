"""Which blocks of a stack a student keeps, as indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from featherweight.errors import SettingError

Layers = Literal["every other", "first", "last"] | int | Sequence[int]
RULES = ("every other", "first", "last")


def kept_of(layers: Layers, length: int) -> tuple[int, ...]:
    """Return the indices of the blocks that stay of ``length``, ascending.

    Args:
        layers: "every other": 0, 2, 4, ... (one layer out of two: DistilBERT, Sanh et al. 2019, section 3,
            https://arxiv.org/abs/1910.01108). "first" or "last": as many, from that end. A number: so many,
            evenly spread with both ends; 6 of 12 are 0, 2, 4, 7, 9, 11, which is what the script of
            DistilBERT takes. Or the indices themselves; negative ones count from the end.
        length: number of blocks.

    Raises:
        SettingError: ``layers`` is none of these, or names a block that there is not.
    """
    half = -(-length // 2)
    if isinstance(layers, str):
        if layers not in RULES:
            raise SettingError(
                f"layers is one of {', '.join(map(repr, RULES))}, a number or indices; got {layers!r}."
            )
        whole = range(length)
        return tuple({"every other": whole[::2], "first": whole[:half], "last": whole[-half:]}[layers])
    if isinstance(layers, int):
        return _spread(layers, length)
    return _checked(layers, length)


def _spread(number: int, length: int) -> tuple[int, ...]:
    if isinstance(number, bool) or not 1 <= number <= length:
        raise SettingError(f"layers is a number of blocks to keep, 1 to {length} here, got {number!r}.")
    if number == 1:
        return (0,)
    gaps = number - 1  # whole numbers, as halves are rounded up
    return tuple((2 * place * (length - 1) + gaps) // (2 * gaps) for place in range(number))


def _checked(layers: Sequence[int], length: int) -> tuple[int, ...]:
    wrong = [i for i in layers if isinstance(i, bool) or not isinstance(i, int)]  # pyright: ignore[reportUnnecessaryIsInstance]
    if wrong or any(not -length <= i < length for i in layers):
        raise SettingError(
            f"layers={list(layers)} names blocks that are not there: the stack has {length}, numbered from 0."
        )
    indices = [i % length for i in layers]
    if not indices or indices != sorted(set(indices)):
        raise SettingError(
            f"layers={list(layers)} must name at least one block, each once, in the order of the stack."
        )
    return tuple(indices)
