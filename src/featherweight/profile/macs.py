"""Multiply-accumulates by module, read off the operators that run.

Counting at the operators, not at the modules, sees functional calls too: attention written with
``scaled_dot_product_attention``, ``F.conv2d`` with a computed weight, ``x @ w``. Convolution, matrix
product, attention and recurrent layers count; additions, norms, activations, pooling and look-ups in
an embedding do not multiply and accumulate, and count zero. Operators that are not PyTorch's own (those of
quantised layers, of extensions) cannot be counted; their names are returned, so that no zero is silent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from featherweight.core.trace import unfused
from featherweight.profile.formulas import FORMULAS, WITHOUT_MACS


def count_macs(model: nn.Module, forward: Callable[[], Any]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the multiply-accumulates that each module does itself, and the operators that were not counted.

    A module that runs without being registered (kept in a plain list) counts where it is called from.

    Args:
        model: the network.
        forward: runs it once.

    Returns:
        MACs by path ("" is the model), and the names of operators that may multiply and are not known.
    """
    inside: list[str] = [""]
    counter = _Counter(inside)
    with following(model, inside), unfused(), counter:
        forward()
    return dict(counter.macs), tuple(sorted(counter.unknown))


class _Counter(TorchDispatchMode):
    """Counts each operator where it runs: in the innermost module of ``inside``."""

    supports_higher_order_operators = True

    def __init__(self, inside: list[str]) -> None:
        super().__init__()
        self.inside = inside
        self.macs: dict[str, int] = defaultdict(int)
        self.unknown: set[str] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # wrapping this mode for the compiler would import the compiler, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator = getattr(func, "_overloadpacket", func)
        formula = FORMULAS.get(operator) or flop_registry.get(operator)
        if formula is None and hasattr(func, "decompose"):
            with self:  # an operator made of others counts as those
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        if formula is None and func.namespace not in WITHOUT_MACS:
            self.unknown.add(f"{func.namespace}::{operator.__name__}")
        out = func(*args, **kwargs)
        if formula is not None:
            self.macs[self.inside[-1]] += formula(*args, **kwargs, out_val=out) // 2
        return out


@contextmanager
def following(model: nn.Module, inside: list[str]) -> Generator[None]:
    """Keep the paths of the modules that are running in ``inside``, the innermost last."""
    handles: list[Any] = []
    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(_entering(inside, name)))
            handles.append(module.register_forward_hook(_leaving(inside)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entering(inside: list[str], name: str) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        inside.append(name)

    return hook


def _leaving(inside: list[str]) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        inside.pop()

    return hook
