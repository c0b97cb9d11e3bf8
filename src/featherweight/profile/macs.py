"""Multiply-accumulates by module, read off the operators that run.

Counting at the operators, not at the modules, sees functional calls too: attention written with
``scaled_dot_product_attention``, ``F.conv2d`` with a computed weight, ``x @ w``. Convolution, matrix
product, attention and recurrent layers count; additions, norms, activations, pooling and look-ups in
an embedding do not multiply and accumulate, and count zero.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

aten: Any = torch.ops.aten


def count_macs(model: nn.Module, forward: Callable[[], Any]) -> dict[str, int]:
    """Return the multiply-accumulates that each module does itself, by its path ("" is the model).

    Args:
        model: the network.
        forward: runs it once.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_MORE)
    with counter, _unfused():
        forward()
    inclusive: dict[str, int] = defaultdict(int)
    root = type(model).__name__
    for path, by_operator in counter.get_flop_counts().items():
        if path != "Global":
            inclusive[path.removeprefix(root).removeprefix(".")] += sum(by_operator.values()) // 2
    return {path: macs - _of_children(path, inclusive) for path, macs in inclusive.items()}


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


# torch hands these the tensors themselves, where its own formulas get shapes only
for _formula in (_attention, _recurrent_layer):
    _formula._get_raw = True  # pyright: ignore[reportFunctionMemberAccess]

_MORE = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten.mkldnn_rnn_layer: _recurrent_layer,
}
