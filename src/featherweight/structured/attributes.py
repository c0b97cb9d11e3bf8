"""Sizes that modules hold as attributes, brought in line with their cut tensors.

Those of torch.nn's own modules are known. Those of others (``num_heads``, ``embed_dim``, ...) are found: a
whole number of a module, alone or in a tuple, may be a size in its forward that the cut changes, if it had
its value. Each guess is tried, and only what makes the module compute what the rewritten graph computes is
kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice, product
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd  # pyright: ignore[reportPrivateUsage]

from featherweight.core.trace import refs
from featherweight.structured.cut import Cut
from featherweight.structured.rewrite import changed_arguments

Attributes = dict[str, dict[str, Any]]  # module path -> attribute -> value


def known_sizes(model: nn.Module, cut: Cut) -> Attributes:
    """Return the attributes of torch.nn's modules that the cut changes; the tensors are cut already."""
    numbers = _numbers_by_module(cut)
    found: Attributes = {}
    for path, module in model.named_modules():
        sizes = next(
            (of(module, numbers.get(path, {})) for kind, of in _KNOWN if isinstance(module, kind)), {}
        )
        changed = {name: value for name, value in sizes.items() if getattr(module, name) != value}
        if changed:
            found[path] = changed
    return found


def guesses(model: nn.Module, cut: Cut) -> dict[str, dict[str, list[Any]]]:
    """Return, for other modules, attributes that may be sizes which the cut changes, each with its values."""
    changes = _changes_by_module(cut)
    found: dict[str, dict[str, list[Any]]] = {}
    for path, module in model.named_modules():
        if isinstance(module, tuple(kind for kind, _ in _KNOWN)) or path not in changes:
            continue
        options = {name: _options(value, changes[path]) for name, value in _numbers_of(module)}
        options = {name: values for name, values in options.items() if values}
        if options:
            found[path] = options
    return found


def combinations(options: Mapping[str, list[Any]], limit: int = 64) -> Iterator[dict[str, Any]]:
    """Yield choices for one module's attributes, those that change most first; no more than ``limit``."""
    names = list(options)
    choices = [[*options[name], None] for name in names]
    for number, values in enumerate(product(*choices)):
        if number == limit:
            return
        yield {name: value for name, value in zip(names, values, strict=True) if value is not None}


def set_attributes(model: nn.Module, attributes: Attributes) -> Attributes:
    """Set attributes of modules, such as "num_heads" or "config.hidden_size"; return what they were."""
    before: Attributes = {}
    for path, values in attributes.items():
        before[path] = {}
        for dotted, value in values.items():
            *above, name = dotted.split(".")
            holder: Any = model.get_submodule(path)
            for step in above:
                holder = getattr(holder, step)
            old = before[path][dotted] = getattr(holder, name)
            setattr(holder, name, list(value) if isinstance(old, list) else value)
    return before


# Attributes that say how wide a module is, whether its forward reads them or not.
_WIDTHS = frozenset((
    "embed_dim", "embed_dims", "hidden_size", "hidden_dim", "hidden_features", "inner_dim", "num_features",
    "in_features", "out_features", "in_channels", "out_channels", "in_chs", "out_chs", "channels", "dim",
    "n_embd", "d_model", "num_heads", "n_heads", "n_head", "num_attention_heads", "num_key_value_heads",
    "head_dim", "attention_head_size", "all_head_size", "head_hidden_size", "intermediate_size",
))  # fmt: skip


def is_width(name: str, values: list[Any]) -> bool:
    """Whether an attribute by its name is the width of its module, and it is clear which one.

    Args:
        name: of the attribute.
        values: what it may be after the cut.
    """
    return name in _WIDTHS and len(values) == 1


def sizes_changed(cut: Cut) -> set[tuple[int, int]]:
    """Return the sizes (before, after) that the cut changes anywhere in the network."""
    return set().union(*_changes_by_module(cut).values())


def _numbers_by_module(cut: Cut) -> dict[str, dict[str, Any]]:
    """Return the changed arguments of the calls in each module."""
    found: dict[str, dict[str, Any]] = {}
    for call in cut.tracing.graph.calls:
        if changed := changed_arguments(call, cut):
            found.setdefault(call.module, {}).update(changed)
    return found


def _changes_by_module(cut: Cut) -> dict[str, set[tuple[int, int]]]:
    """Return the sizes (before, after) that the cut changes in each module's own forward."""
    found: dict[str, set[tuple[int, int]]] = {}
    for call in cut.tracing.graph.calls:
        changes = found.setdefault(call.module, set())
        for name, value in changed_arguments(call, cut).items():
            changes |= set(_pairs(call.arguments[name], value))
        for tensor in (*call.outputs, *(ref.name for ref in refs(call.arguments))):
            changes |= set(_pairs(cut.tracing.graph.shapes[tensor], cut.shape(tensor)))
    return found


def _pairs(old: Any, new: Any) -> Iterator[tuple[int, int]]:
    if isinstance(old, list | tuple):
        for a, b in zip(old, new, strict=True):  # pyright: ignore
            yield from _pairs(a, b)
    elif isinstance(old, int) and old != new:
        yield old, new


def _numbers_of(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a module that are whole numbers, or several, such as the sizes of a split."""
    for name, value in vars(module).items():
        several = list(value) if isinstance(value, list | tuple) else [value]  # pyright: ignore
        if several and all(type(number) is int for number in several) and not name.startswith("_"):
            yield name, value


def _options(value: Any, changes: set[tuple[int, int]], limit: int = 8) -> list[Any]:
    """Return what a number, or numbers, may be after the cut."""
    if isinstance(value, int):
        return sorted({new for old, new in changes if old == value})
    each = [_options(number, changes) or [number] for number in value]
    return [numbers for numbers in islice(product(*each), limit) if numbers != tuple(value)]


def _convolution(module: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    groups = numbers.get("groups", module.groups)
    first, second, *_ = module.weight.shape
    if isinstance(module, _ConvTransposeNd):
        return {"groups": groups, "in_channels": first, "out_channels": second * groups}
    return {"groups": groups, "in_channels": second * groups, "out_channels": first}


def _linear(module: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    return {"out_features": module.weight.shape[0], "in_features": module.weight.shape[1]}


def _norm(module: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    stored = (module.weight, module.running_mean)
    return next(({"num_features": len(tensor)} for tensor in stored if tensor is not None), {})


def _layer_norm(module: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    if module.weight is not None:
        return {"normalized_shape": tuple(module.weight.shape)}
    return {"normalized_shape": tuple(numbers.get("normalized_shape", module.normalized_shape))}


def _group_norm(module: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    groups = {"num_groups": numbers.get("num_groups", module.num_groups)}
    return groups | ({} if module.weight is None else {"num_channels": len(module.weight)})


def _embedding(module: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    return {"embedding_dim": module.weight.shape[1]}


def _recurrent(module: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    return {"hidden_size": module.weight_hh_l0.shape[1], "input_size": module.weight_ih_l0.shape[1]}


_KNOWN: tuple[tuple[type[nn.Module], Callable[[Any, dict[str, Any]], dict[str, Any]]], ...] = (
    (_ConvNd, _convolution),
    (nn.Linear, _linear),
    (_NormBase, _norm),
    (nn.LayerNorm, _layer_norm),
    (nn.RMSNorm, _layer_norm),
    (nn.GroupNorm, _group_norm),
    (nn.Embedding, _embedding),
    (nn.RNNBase, _recurrent),
)
