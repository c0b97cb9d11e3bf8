"""What optimal brain surgery removes at a time: cells of a pattern, and how many of them must stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor
from torch.nn import functional as F

from featherweight.errors import SettingError
from featherweight.sparsity.patterns import NM, Blocks, FromFunction, PerOutput, RowPattern, row_pattern


@dataclass(frozen=True)
class Cells:
    """Weights that go together.

    Attributes:
        outputs: height of a cell.
        inputs: width of a cell.
        n: how many weights of each ``m`` consecutive inputs stay until every such group has lost the others.
        m: length of a group; 0 where there are none.
    """

    outputs: int = 1
    inputs: int = 1
    n: int = 0
    m: int = 0

    def padded(self, rows: Tensor, value: float = 0) -> Tensor:
        """Return (outputs, positions, inputs) filled up to whole cells."""
        outputs, _, inputs = rows.shape
        return F.pad(rows, (0, -inputs % self.inputs, 0, 0, 0, -outputs % self.outputs), value=value)

    def caps(self, positions: int, inputs: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the group of each column, and how many may be removed at first from each group."""
        m = self.m or inputs
        of_input = torch.arange(inputs, device=device) // m
        groups = int(of_input[-1]) + 1
        sizes = of_input.bincount(minlength=groups)
        stay = -(-self.n * sizes // m)
        number = torch.arange(positions, device=device)[:, None] * groups + of_input
        return number.flatten(), (sizes - stay).repeat(positions)


def column_blocks(pattern: RowPattern, positions: int, inputs: int, size: int) -> Iterator[range]:
    """Yield the columns, positions * inputs of them, in blocks of about ``size`` that cut no cell in two."""
    width = pattern.inputs if isinstance(pattern, Blocks) else pattern.m if isinstance(pattern, NM) else 1
    starts = [p * inputs + i for p in range(positions) for i in range(0, inputs, width)]
    first = 0
    for start, after in zip(starts, [*starts[1:], positions * inputs], strict=True):
        if after - first > size and start > first:
            yield range(first, start)
            first = start
    yield range(first, positions * inputs)


@singledispatch
def cells_of(pattern: RowPattern) -> Cells:
    """Return the cells of a pattern; raises SettingError where it is none that they are known of."""
    raise SettingError(
        f"method='obs' takes the patterns 'unstructured', 'per_output', N:M and RxC, not {pattern!r}: "
        f"it removes weights one after another. Use method='sparsegpt' or 'alps'."
    )


@cells_of.register
def _(pattern: NM) -> Cells:
    return Cells(n=pattern.n, m=pattern.m)


@cells_of.register
def _(pattern: Blocks) -> Cells:
    return Cells(pattern.outputs, pattern.inputs)


@cells_of.register
def _(pattern: PerOutput) -> Cells:
    return Cells()


@cells_of.register
def _(pattern: FromFunction) -> Cells:
    return Cells() if pattern == row_pattern("unstructured") else cells_of.dispatch(RowPattern)(pattern)
