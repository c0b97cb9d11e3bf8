"""Sizes that are known only when arrays come: ``factor * symbols + offset``, with exact arithmetic.

A size is an int, or a Dim where it hangs on the size of an input. Two Dims are equal only if they always are:
what the arithmetic cannot follow becomes a new symbol, named after how it came about, so that the same
computation gives the same Dim.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from featherweight.errors import GraphError


@dataclass(frozen=True)
class Dim:
    """``factor * product(symbols) + offset``; ``symbols`` is sorted and has one at least."""

    symbols: tuple[str, ...]
    factor: int = 1
    offset: int = 0

    def __add__(self, other: Size) -> Size:
        if isinstance(other, int):
            return Dim(self.symbols, self.factor, self.offset + other)
        if other.symbols == self.symbols:
            return _made(self.symbols, self.factor + other.factor, self.offset + other.offset)
        return Dim((f"({self} + {other})",))

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return Dim(self.symbols, -self.factor, -self.offset)

    def __sub__(self, other: Size) -> Size:
        return self + (-other)

    def __rsub__(self, other: int) -> Size:
        return (-self) + other

    def __mul__(self, other: Size) -> Size:
        if isinstance(other, int):
            return _made(self.symbols, self.factor * other, self.offset * other)
        if self.offset or other.offset:
            return Dim((f"(({self}) * ({other}))",))
        return Dim(tuple(sorted((*self.symbols, *other.symbols))), self.factor * other.factor)

    __rmul__ = __mul__

    def __floordiv__(self, other: Size) -> Size:
        if isinstance(other, int):
            if other != 0 and self.factor % other == 0:
                return _made(self.symbols, self.factor // other, self.offset // other)
        elif self == other:
            return 1
        elif not self.offset and not other.offset and self.factor % other.factor == 0:
            left = _without(self.symbols, other.symbols)
            if left is not None:
                return _made(left, self.factor // other.factor, 0)
        return Dim((f"(({self}) // ({other}))",))

    def __rfloordiv__(self, other: int) -> Size:
        return Dim((f"({other} // ({self}))",))

    def __str__(self) -> str:
        product = "*".join(self.symbols) if self.factor == 1 else "*".join((str(self.factor), *self.symbols))
        return f"{product}{self.offset:+d}" if self.offset else product

    __repr__ = __str__


Size: TypeAlias = int | Dim
Shape: TypeAlias = tuple[Size, ...]


def _made(symbols: tuple[str, ...], factor: int, offset: int) -> Size:
    return Dim(symbols, factor, offset) if symbols and factor else factor * (not symbols) + offset


def _without(symbols: tuple[str, ...], gone: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return ``symbols`` less ``gone``; None where ``gone`` has others."""
    left = list(symbols)
    for symbol in gone:
        if symbol not in left:
            return None
        left.remove(symbol)
    return tuple(left)


def product(sizes: Iterable[Size]) -> Size:
    """Return the product of ``sizes``."""
    return math.prod(sizes, start=1)  # pyright: ignore[reportCallIssue, reportArgumentType]


def ceil_div(size: Size, by: int) -> Size:
    """Return ``size / by``, rounded up."""
    return -((-size) // by)


def broadcast(a: Shape, b: Shape, where: str) -> Shape:
    """Return the shape of ``a op b``, as numpy; raises GraphError where they do not fit.

    Of two sizes of which one is not known, the other counts unless it is 1.
    """
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    sizes: list[Size] = []
    for left, right in zip(a, b, strict=True):
        if isinstance(left, int) and isinstance(right, int) and left != right and 1 not in (left, right):
            raise GraphError(f"{where}: shapes {list(a)} and {list(b)} do not broadcast.")
        sizes.append(left if right == 1 or (isinstance(left, int) and left != 1) else right)
    return tuple(sizes)
