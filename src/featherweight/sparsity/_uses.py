"""The functions of torch that multiply with a weight: which argument it is, and what reaches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from featherweight.sparsity._windows import Window, convolution_rows, transposed_rows


@dataclass(frozen=True, eq=False)
class Use:
    """A call that multiplies with a weight.

    Attributes:
        weight: what the call was given: a parameter, or a view of it.
        output_dim: the dimension of ``weight`` that counts outputs.
        pieces: makes the inputs, (groups, samples, columns) each, of the positions that are not padding;
            called only where they are wanted.
        outputs: the outputs that they reach; None for all.
    """

    weight: Tensor
    output_dim: int
    pieces: Callable[[Tensor | None], Iterator[Tensor]]
    outputs: range | None = None


Reader = Callable[..., Iterator[Use]]


def _rows_of(inputs: Tensor) -> Callable[[Tensor | None], Iterator[Tensor]]:
    return lambda valid: iter([selected(inputs, valid)[None]])


def selected(inputs: Tensor, valid: Tensor | None) -> Tensor:
    """Return the rows (samples, columns) of ``inputs`` (..., columns) that are not padding.

    Args:
        inputs: what reaches a linear layer.
        valid: bool (batch, length), or None; it is used where the first dimensions of ``inputs`` are those,
            or both in one.
    """
    if valid is not None and inputs.ndim > 2 and valid.shape == inputs.shape[:2]:
        inputs = inputs[valid.to(inputs.device)]
    elif valid is not None and inputs.ndim == 2 and len(inputs) == valid.numel():
        inputs = inputs[valid.to(inputs.device).reshape(-1)]
    return inputs.reshape(-1, inputs.shape[-1])


def _linear(input: Tensor, weight: Tensor, bias: Any = None) -> Iterator[Use]:
    yield Use(weight, 0, _rows_of(input))


def _product(left: Tensor, right: Tensor) -> Iterator[Use]:
    if right.ndim == 2:
        yield Use(right, 1, _rows_of(left))
    if left.ndim == 2:
        yield Use(left, 0, _rows_of(right.mT if right.ndim > 1 else right))


def _matmul(input: Tensor, other: Tensor) -> Iterator[Use]:
    return _product(input, other)


def _mm(input: Tensor, mat2: Tensor) -> Iterator[Use]:
    return _product(input, mat2)


def _addmm(input: Any, mat1: Tensor, mat2: Tensor, **scales: Any) -> Iterator[Use]:
    return _product(mat1, mat2)


def _cell(input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, *biases: Any) -> Iterator[Use]:
    yield Use(w_ih, 0, _rows_of(input))
    yield Use(w_hh, 0, _rows_of(hx if isinstance(hx, Tensor) else hx[0]))


def _convolution(input: Tensor, weight: Tensor, bias: Any = None, *given: Any, **named: Any) -> Iterator[Use]:
    window = Window(**dict(zip(("stride", "padding", "dilation", "groups"), given, strict=False)), **named)
    yield Use(weight, 0, lambda _: convolution_rows(input, tuple(weight.shape[2:]), window))


def _transposed(input: Tensor, weight: Tensor, bias: Any = None, *given: Any, **named: Any) -> Iterator[Use]:
    order = ("stride", "padding", "output_padding", "groups", "dilation")
    window = Window(**dict(zip(order, given, strict=False)), **named)
    yield Use(weight, 1, lambda _: transposed_rows(input, tuple(weight.shape[2:]), window))


def attention_projections(call: Mapping[str, Any], valid: Tensor | None) -> Iterator[Use]:
    """Yield what the query, key and value projections do in ``multi_head_attention_forward``.

    Args:
        call: its arguments by name; its tokens are (length, batch, features), or without the batch.
        valid: bool (batch, length), or None.
    """
    tokens: list[Tensor] = [call["query"], call["key"], call["value"]]
    if call.get("use_separate_proj_weight"):
        for name, reaching in zip(("q", "k", "v"), tokens, strict=True):
            yield Use(call[f"{name}_proj_weight"], 0, _tokens(reaching, call, valid))
        return
    weight: Tensor = call["in_proj_weight"]
    if tokens[0] is tokens[1] is tokens[2]:
        yield Use(weight, 0, _tokens(tokens[0], call, valid))
        return
    size = len(weight) // 3
    for index, reaching in enumerate(tokens):
        part = range(index * size, (index + 1) * size)
        yield Use(weight, 0, _tokens(reaching, call, valid), part)


def attention_output(heads: Tensor, call: Mapping[str, Any], valid: Tensor | None) -> Use:
    """Return what the last projection of attention does, which ``heads`` (length, batch, features) reach."""
    of_query = _kept_tokens(call["query"], call, valid)
    return Use(call["out_proj_weight"], 0, lambda _: iter([selected(heads, of_query)[None]]))


def _tokens(
    tokens: Tensor, call: Mapping[str, Any], valid: Tensor | None
) -> Callable[[Tensor | None], Iterator[Tensor]]:
    return lambda _: iter([selected(tokens, _kept_tokens(tokens, call, valid))[None]])


def _kept_tokens(tokens: Tensor, call: Mapping[str, Any], valid: Tensor | None) -> Tensor | None:
    """Return which tokens count, bool (length, batch): neither padding nor ignored as keys."""
    if tokens.ndim != 3:
        return None
    keep = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
    if valid is not None and valid.T.shape == keep.shape:
        keep &= valid.T.to(keep.device)
    ignored = call.get("key_padding_mask")
    if isinstance(ignored, Tensor) and (tokens is call["key"] or tokens is call["value"]):
        ignored = ignored if ignored.dtype == torch.bool else ignored == -torch.inf
        keep &= ~ignored.T
    return keep


_cells = (torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell)
READERS: dict[Any, Reader] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    torch.mm: _mm,
    Tensor.mm: _mm,
    torch.addmm: _addmm,
    Tensor.addmm: _addmm,
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), _convolution),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), _transposed),
    **dict.fromkeys(_cells, _cell),
}
"""What each function of torch does with the weights among its arguments; it takes the same arguments."""
