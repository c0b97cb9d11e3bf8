"""Whether a tensor is zero wherever a cut removes: as it is in the network with those channels set to zero.

A sum over a dimension that is cut is the same sum as before only then. What is not known to keep zeros is
taken not to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featherweight.core.trace import Call, Ref

_KEEP = frozenset((
    "relu", "relu_", "relu6", "relu6_", "gelu", "silu", "silu_", "tanh", "tanh_", "leaky_relu", "leaky_relu_",
    "elu", "elu_", "celu", "selu", "hardswish", "hardswish_", "mish", "softsign", "neg", "abs", "sqrt", "sin",
    "sinh", "asinh", "atan", "erf", "square", "sign", "dropout", "dropout_", "feature_dropout",
    "view", "reshape", "_unsafe_view", "permute", "transpose", "t", "unsqueeze", "squeeze", "slice", "select",
    "narrow", "expand", "clone", "contiguous", "flatten", "unflatten", "to", "_to_copy", "detach", "alias",
    "chunk", "split", "split_with_sizes", "unbind", "movedim", "repeat", "pixel_shuffle", "channel_shuffle",
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "sum", "amax", "amin", "upsample_nearest2d",
    "upsample_bilinear2d",
))  # fmt: skip
_WEIGHTED = frozenset((
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "embedding", "batch_norm", "layer_norm", "group_norm", "rms_norm", "instance_norm",
))  # fmt: skip
_NORMS = frozenset(("batch_norm", "layer_norm", "group_norm", "rms_norm", "instance_norm"))


def keeps_zeros(call: Call, zero: Mapping[str, bool], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the outputs of ``call`` are zero wherever a cut removes.

    Args:
        call: an operation.
        zero: what is known of the tensors that it takes.
        shapes: of all tensors.
    """
    name = call.op.split(".")[1] if "." in call.op else call.op
    tensors = _tensors(call)
    first = next(iter(tensors.values()), None)
    if name == "pow":
        exponent = call.arguments.get("exponent")
        return isinstance(exponent, int | float) and exponent > 0 and _is_zero(first, zero)
    if name in _KEEP:
        return _is_zero(first, zero)
    if name in _WEIGHTED:
        weights = [ref for key, ref in tensors.items() if key in ("weight", "bias")]
        has = "weight" in tensors or name not in _NORMS
        return has and all(zero.get(ref.name, False) for ref in weights)
    if name in (
        "cat",
        "stack",
        "add",
        "add_",
        "sub",
        "sub_",
        "mul",
        "mul_",
        "div",
        "div_",
        "matmul",
        "bmm",
        "mm",
    ):
        return _of_several(name, call, zero, shapes)
    return False


def _is_zero(ref: Ref | None, zero: Mapping[str, bool]) -> bool:
    return ref is not None and zero.get(ref.name, False)


def _of_several(
    name: str, call: Call, zero: Mapping[str, bool], shapes: Mapping[str, tuple[int, ...]]
) -> bool:
    tensors = list(_tensors(call).values())
    whole = shapes[call.outputs[0]]
    zeros = [zero.get(ref.name, False) for ref in tensors]
    full = [is_zero and shapes[ref.name] == whole for ref, is_zero in zip(tensors, zeros, strict=True)]
    if name in ("mul", "mul_"):  # one factor of the product's own sizes is enough
        return any(full)
    if name in ("div", "div_"):
        return full[0]
    if name in ("matmul", "bmm", "mm", "cat", "stack"):
        return all(zeros)
    return len(tensors) == 2 and all(full)  # a sum of two


def _tensors(call: Call) -> dict[str, Ref]:
    """Return the tensors that a call takes by argument; those of a list by their numbers."""
    found: dict[str, Ref] = {}
    for key, value in call.arguments.items():
        several: list[Any] = list(value) if isinstance(value, list | tuple) else [value]  # pyright: ignore
        for number, item in enumerate(several):
            if isinstance(item, Ref):
                found[key if item is value else f"{key}.{number}"] = item
    return found
