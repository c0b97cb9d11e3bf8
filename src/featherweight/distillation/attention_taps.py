"""Queries, keys and values of attention layers, from the linear layers that make them.

Fused attention kernels return no probabilities; what goes into them is enough for every loss. Known are

- three modules side by side: query, key, value (BERT, ViT of Hugging Face); q_proj, k_proj, v_proj (OPT,
  Llama, CLIP); q_lin, k_lin, v_lin (DistilBERT); q, k, v (T5);
- one linear layer for the three, qkv (timm, the zoo) or c_attn (GPT-2), with outputs (3, heads, width);
- torch.nn.MultiheadAttention, whose inputs are tapped and multiplied again.

What a network does to queries and keys later (rotary positions, norms) is not in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.distillation.losses import Heads
from featherweight.distillation.taps import Tap, module_at
from featherweight.errors import ModelError

APART = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("q", "k", "v"),
)
FUSED = ("qkv", "c_attn")
COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")


@dataclass(frozen=True)
class Attention:
    """Where the queries, keys and values of one layer come from.

    Attributes:
        path: of the layer.
        heads: of the queries.
        kind: "apart", "fused" or "torch" (nn.MultiheadAttention).
        taps: three, or one where they are fused.
    """

    path: str
    heads: int
    kind: Literal["apart", "fused", "torch"]
    taps: tuple[Tap, ...]

    def read(self, network: nn.Module, values: Mapping[Tap, Tensor]) -> Heads:
        """Return them, of the tensors that the taps gave.

        Raises:
            ModelError: their widths do not divide by the number of heads.
        """
        found = [values[tap] for tap in self.taps]
        if self.kind == "torch":
            found = _projected(cast("nn.MultiheadAttention", module_at(network, self.path)), found)
        if self.kind == "fused":
            found = list(found[0].chunk(3, -1))
        width, rest = divmod(found[0].shape[-1], self.heads)
        if rest or any(x.ndim != 3 or x.shape[-1] % width for x in found):
            shapes = [tuple(x.shape) for x in found]
            raise ModelError(
                f"Queries, keys and values at {self.path!r} are {shapes}: not (n, tokens, width), or no "
                f"multiple of {self.heads} heads."
            )
        return Heads(*(self._split(x, width) for x in found))

    def _split(self, x: Tensor, width: int) -> Tensor:
        """Return (n, heads, tokens, width); heads that share keys and values have them repeated."""
        parts = x.unflatten(-1, (-1, width)).transpose(1, 2)
        return parts.repeat_interleave(self.heads // parts.shape[1], 1)


def find_attention(network: nn.Module) -> tuple[Attention, ...]:
    """Return the attention layers of ``network``, in its order."""
    return tuple(
        found for path, module in network.named_modules() if (found := _found(network, path, module))
    )


def attention_at(network: nn.Module, path: str) -> Attention:
    """Return the attention layer at ``path``, or the only one within.

    Raises:
        SettingError: there is no such module.
        ModelError: it is no attention layer that is known; names those that are.
    """
    module_at(network, path)
    everything = find_attention(network)
    inside = [a for a in everything if a.path == path] or [
        a for a in everything if a.path.startswith(f"{path}.")
    ]
    if len(inside) == 1:
        return inside[0]
    known = ", ".join(a.path for a in everything) or "none"
    raise ModelError(
        f"{path!r} holds {len(inside)} attention layers, not one. Found: {known}. {looked_for()}"
    )


def looked_for() -> str:
    """Return in words what an attention layer is known by."""
    apart = "; ".join("/".join(names) for names in APART)
    return (
        f"Looked for nn.MultiheadAttention, for modules with the children {apart}, or with one linear layer "
        f"{' or '.join(FUSED)}; and for a number of heads in {', '.join(COUNTS)} of the module, a module "
        f"around it, or a config."
    )


def _found(network: nn.Module, path: str, module: nn.Module) -> Attention | None:
    if isinstance(module, nn.MultiheadAttention):
        names = ("query", "key", "value")
        taps = tuple(Tap(path, "input", i, name) for i, name in enumerate(names))
        return Attention(path, module.num_heads, "torch", taps)
    children = dict(module.named_children())
    kind, names = next(_forms(children), (None, ()))
    heads = _heads(network, path) if kind else None
    if kind is None or heads is None:
        return None
    return Attention(path, heads, kind, tuple(Tap(f"{path}.{name}".lstrip("."), "output") for name in names))


def _forms(children: Mapping[str, nn.Module]) -> Iterator[tuple[Literal["apart", "fused"], tuple[str, ...]]]:
    for names in APART:
        if all(_is_linear(children.get(name)) for name in names):
            yield "apart", names
    for name in FUSED:
        if _is_linear(children.get(name)):
            yield "fused", (name,)


def _is_linear(module: nn.Module | None) -> bool:
    """Whether its weight is a matrix, also of GPT-2's Conv1D and of an adapter around a layer."""
    if module is None or isinstance(module, nn.Embedding):
        return False
    weight = getattr(getattr(module, "base_layer", module), "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2


def _heads(network: nn.Module, path: str) -> int | None:
    """Return the number of heads, from the module at ``path`` or the nearest one around it."""
    parts = path.split(".") if path else []
    for length in range(len(parts), -1, -1):
        module = network.get_submodule(".".join(parts[:length]))
        for holder in (module, getattr(module, "config", None)):
            count = _count(holder)
            if count is not None:
                return count
    return None


def _count(holder: Any) -> int | None:
    values = (getattr(holder, name, None) for name in COUNTS)
    return next((value for value in values if type(value) is int and value > 0), None)


def _projected(module: nn.MultiheadAttention, inputs: list[Tensor]) -> list[Tensor]:
    """Return what the layer makes of its inputs first, each (n, tokens, width)."""
    if any(x.ndim != 3 for x in inputs):
        raise ModelError("nn.MultiheadAttention is tapped with batches of tokens, (n, tokens, width), only.")
    fused = cast("Tensor | None", module.in_proj_weight)
    bias = cast("Tensor | None", module.in_proj_bias)
    apart = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    weights = apart if fused is None else fused.chunk(3)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    made = [F.linear(x.to(w.dtype), w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]
    return made if module.batch_first else [x.transpose(0, 1) for x in made]
