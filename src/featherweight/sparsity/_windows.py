"""What a convolution multiplies its weight with, as rows: one row an output position."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor
from torch.nn import functional as F

PIECE_BYTES = 2**26  # a 3x3 convolution reads nine times the bytes of its input: never all at once

Pair = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """The settings of a convolution, as ``torch.nn.functional.conv2d`` and ``conv_transpose2d`` take them."""

    stride: int | Sequence[int] = 1
    padding: str | int | Sequence[int] = 0
    dilation: int | Sequence[int] = 1
    groups: int = 1
    output_padding: int | Sequence[int] = 0


def convolution_rows(inputs: Tensor, kernel: Pair, window: Window) -> Iterator[Tensor]:
    """Yield pieces ``(groups, samples, positions * inputs)``; the inputs of a group change fastest.

    Args:
        inputs: (batch, channels, *space), or without the batch.
        kernel: sizes of the kernel.
        window: how it moves over the inputs.
    """
    spread = _each(window.dilation, kernel)
    padded = F.pad(_batched(inputs, kernel), _pads(window.padding, kernel, spread))
    yield from _pieces(_windows(padded, kernel, _each(window.stride, kernel), spread), window.groups)


def transposed_rows(inputs: Tensor, kernel: Pair, window: Window) -> Iterator[Tensor]:
    """Yield pieces as ``convolution_rows`` does, for a transposed convolution.

    It is a convolution of the inputs with zeros between them, its kernel turned round.
    """
    strides, spread = _each(window.stride, kernel), _each(window.dilation, kernel)
    padding = _each(cast("int | Sequence[int]", window.padding), kernel)
    before = [d * (k - 1) - p for k, d, p in zip(kernel, spread, padding, strict=True)]
    after = [b + o for b, o in zip(before, _each(window.output_padding, kernel), strict=True)]
    padded = F.pad(_spaced(_batched(inputs, kernel), strides), _interleaved(before, after))
    windows = _windows(padded, kernel, (1,) * len(kernel), spread)
    yield from _pieces(windows.flip(tuple(range(-len(kernel), 0))), window.groups)


def _each(value: int | Sequence[int], kernel: Pair) -> Pair:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * len(kernel) if len(values) == 1 else values


def _batched(inputs: Tensor, kernel: Pair) -> Tensor:
    return inputs if inputs.ndim == len(kernel) + 2 else inputs.unsqueeze(0)


def _pads(padding: str | int | Sequence[int], kernel: Pair, dilation: Pair) -> list[int]:
    if not isinstance(padding, str):
        both = _each(padding, kernel)
        return _interleaved(both, both)
    total = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
    return _interleaved([t // 2 for t in total], [t - t // 2 for t in total])


def _interleaved(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Return pads in the order of F.pad: the last dimension first."""
    return [pad for pair in zip(reversed(before), reversed(after), strict=True) for pad in pair]


def _spaced(inputs: Tensor, stride: Pair) -> Tensor:
    """Put ``stride - 1`` zeros between the entries of each spatial dimension."""
    space = [(size - 1) * s + 1 for size, s in zip(inputs.shape[2:], stride, strict=True)]
    spaced = inputs.new_zeros((*inputs.shape[:2], *space))
    spaced[(slice(None), slice(None), *(slice(None, None, s) for s in stride))] = inputs
    return spaced


def _windows(padded: Tensor, kernel: Pair, stride: Pair, dilation: Pair) -> Tensor:
    """Return (batch, channels, *positions of the output, *kernel), a view."""
    windows = padded
    for dim, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True), start=2):
        windows = windows.unfold(dim, d * (k - 1) + 1, s)[..., ::d]
    return windows


def _pieces(windows: Tensor, groups: int) -> Iterator[Tensor]:
    """Copy windows into rows, some images at a time; where one is too large, some of its lines at a time."""
    space = (windows.ndim - 2) // 2
    image = math.prod(windows.shape[1:]) * windows.itemsize
    lines = windows.shape[2]
    few = lines if image <= PIECE_BYTES else max(1, lines * PIECE_BYTES // image)
    for images in windows.split(max(1, PIECE_BYTES // max(1, image))):
        for part in images.split(few, dim=2):
            yield _rows(part, groups, space)


def _rows(windows: Tensor, groups: int, space: int) -> Tensor:
    apart = windows.unflatten(1, (groups, -1))  # batch, groups, inputs, *positions, *kernel
    moved = apart.permute(1, 0, *range(3, 3 + 2 * space), 2)
    return moved.reshape(groups, -1, math.prod(moved.shape[-space - 1 :]))
