"""Multiply-accumulates by module, read off the operators that run.

Counting at the operators, not at the modules, sees functional calls too: attention written with
``scaled_dot_product_attention``, ``F.conv2d`` with a computed weight, ``x @ w``. Convolution, matrix
product, attention and recurrent layers count; additions, norms, activations, pooling and look-ups in
an embedding do not multiply and accumulate, and count zero. Operators that are not PyTorch's own (those of
quantised layers, of extensions) cannot be counted; their names are returned, so that no zero is silent.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

aten: Any = torch.ops.aten


def count_macs(model: nn.Module, forward: Callable[[], Any]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the multiply-accumulates that each module does itself, and the operators that were not counted.

    A module that runs without being registered (kept in a plain list) counts where it is called from.

    Args:
        model: the network.
        forward: runs it once.

    Returns:
        MACs by path ("" is the model), and the names of operators that may multiply and are not known.
    """
    counter, foreign = FlopCounterMode(display=False, custom_mapping=_MORE), _Foreign()
    with counter, foreign, _unfused(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using `torch.compile")  # the counter's hooks on compiled parts
        forward()
    root = type(model).__name__
    inclusive = {
        path.removeprefix(root).removeprefix("."): sum(by_operator.values()) // 2
        for path, by_operator in counter.get_flop_counts().items()
        if path == root or path.startswith(f"{root}.")
    }
    own = {path: macs - _of_children(path, inclusive) for path, macs in inclusive.items()}
    return own, tuple(sorted(foreign.names))


class _Foreign(TorchDispatchMode):
    """Collects the names of the operators that are not PyTorch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace not in _KNOWN_NAMESPACES:
            self.names.add(f"{func.namespace}::{func._opname}")
        return func(*args, **(kwargs or {}))


def _of_children(path: str, inclusive: dict[str, int]) -> int:
    """Return what lies in the nearest modules below ``path`` that were counted."""
    below = [p for p in inclusive if p != path and (not path or p.startswith(f"{path}."))]
    return sum(inclusive[p] for p in below if not any(p.startswith(f"{other}.") for other in below))


@contextmanager
def _unfused() -> Generator[None]:
    """Run attention layers operator by operator: the fused fast path of inference hides their products."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _attention(query: Any, key: Any, value: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    """Scores (n, heads, queries, keys) and their product with the values, two operations a MAC."""
    *outer, queries, width = query.shape
    keys, out_width = value.shape[-2:]
    batch = 1
    for size in outer:
        batch *= size
    return 2 * batch * queries * keys * (width + out_width)


def _recurrent_layer(x: Any, *weights: Any, out_val: Any = None, **kwargs: Any) -> int:
    """One direction of one layer: x (time, batch, features) times both weight matrices at each step."""
    steps = x.shape[0] * x.shape[1]
    return 2 * steps * sum(w.numel() for w in weights[:2])


def _recurrent_stack(
    x: Any, weights: Any, weight_stride: int, *args: Any, out_val: Any = None, **kwargs: Any
) -> int:
    """All layers and directions at once: x (time, batch, features) times every matrix at each step."""
    steps = x.shape[0] * x.shape[1]
    return 2 * steps * sum(w.numel() for w in weights if w.ndim == 2)


def _matrix_vector(matrix: Any, vector: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    return 2 * matrix.numel()


def _add_matrix_vector(
    x: Any, matrix: Any, vector: Any, *args: Any, out_val: Any = None, **kwargs: Any
) -> int:
    return 2 * matrix.numel()


def _bilinear(left: Any, weight: Any, right: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    """Each row of the batch times the weight (out, left, right), then times the other row."""
    batch = left.shape[0]
    return 2 * batch * (weight.numel() + weight.numel() // left.shape[-1])


# torch hands these the tensors themselves, where its own formulas get shapes only
for _formula in (
    _attention,
    _recurrent_layer,
    _recurrent_stack,
    _matrix_vector,
    _add_matrix_vector,
    _bilinear,
):
    _formula._get_raw = True  # pyright: ignore[reportFunctionMemberAccess]

_MORE = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten.mkldnn_rnn_layer: _recurrent_layer,
    aten._cudnn_rnn: _recurrent_stack,
    aten.mv: _matrix_vector,
    aten.dot: _matrix_vector,
    aten.vdot: _matrix_vector,
    aten.addmv: _add_matrix_vector,
    aten._trilinear: _bilinear,
}
_KNOWN_NAMESPACES = ("aten", "prim", "prims", "profiler")
