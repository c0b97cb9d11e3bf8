"""Operations of the operators that torch.utils.flop_counter has no formula for; two operations are one MAC.

Unlike torch's own, which get shapes, these get the tensors themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

aten: Any = torch.ops.aten


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


FORMULAS: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten.mkldnn_rnn_layer: _recurrent_layer,
    aten._cudnn_rnn: _recurrent_stack,
    aten.mv: _matrix_vector,
    aten.dot: _matrix_vector,
    aten.vdot: _matrix_vector,
    aten.addmv: _add_matrix_vector,
    aten._trilinear: _bilinear,
}
# namespaces whose other operators do not multiply and accumulate
WITHOUT_MACS = ("aten", "prim", "prims", "profiler")
