"""A recorded surgery, done again on a fresh network of the class that it was done on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]

from featherweight.core.prunable import unwrap
from featherweight.core.trace import as_arguments, evaluating, trace
from featherweight.errors import ModelError
from featherweight.structured.attributes import set_attributes
from featherweight.structured.axes import trace_axes
from featherweight.structured.cut import cut_of
from featherweight.structured.depth.blocks import find_branches, find_modules
from featherweight.structured.depth.remove import without
from featherweight.structured.depth.skipped import check_places, put
from featherweight.structured.graph_module import as_module
from featherweight.structured.record import Record, remember, surgeries_of
from featherweight.structured.rewrite import shrink
from featherweight.structured.undo import is_configuration

# Modules of torch.nn whose sizes ``attributes.known_sizes`` knows, and the names of those sizes.
_KNOWN = (_ConvNd, nn.Linear, _NormBase, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.Embedding, nn.RNNBase)
_SIZES = (
    "groups", "in_channels", "out_channels", "in_features", "out_features", "num_features",
    "normalized_shape", "num_groups", "num_channels", "embedding_dim", "hidden_size", "input_size",
)  # fmt: skip


def replay_all(model: nn.Module, records: Iterable[Record], *, max_bytes: int | None = None) -> nn.Module:
    """Do all surgeries again, each on the submodule that it was done on, and let those remember them.

    Args:
        model: a network as it was before them.
        records: the surgeries, in order.
        max_bytes: what the inputs of a tracing may take; see ``Record.inputs``.

    Returns:
        ``model``, or a rewritten graph where that was the result. A submodule of which one was the result is
        replaced by it.

    Raises:
        ModelError: the class has changed since; the model may have been cut by the surgeries before.
        TraceError: the model cannot be traced any more.
    """
    for record in records:
        part = _part(model, record.within)
        own = replace(record, within="")
        before = surgeries_of(part)
        cut = replay(part, own, max_bytes)
        remember(cut, (*before, own))
        if part is model:
            model = cut
        elif cut is not part:
            _replace(model, part, cut)
    return model


def _part(model: nn.Module, path: str) -> nn.Module:
    """Return a submodule; wrappers on the way are looked through, as in the names of tensors."""
    part = model
    for step in path.split(".") if path else ():
        children = dict(unwrap(part).named_children()) | dict(part.named_children())
        if step not in children:
            raise ModelError(
                f"{type(model).__name__} is not what the surgery was done on: it has no module {path!r}. "
                f"Make it with the class and the arguments of then. Nothing was changed."
            )
        part = children[step]
    return unwrap(part)


def _replace(model: nn.Module, part: nn.Module, other: nn.Module) -> None:
    """Put ``other`` wherever ``model`` holds ``part``, or what it was compiled to."""
    for parent in list(model.modules()):
        for name, child in list(vars(parent)["_modules"].items()):
            if child is part or getattr(child, "_orig_mod", None) is part:
                setattr(parent, name, other)


def replay(model: nn.Module, record: Record, max_bytes: int | None = None) -> nn.Module:
    """Cut ``model`` as ``record`` says: in place, or as a rewritten graph where that was the result.

    Raises:
        ModelError: the class has changed since; the model is not changed.
        TraceError: the model cannot be traced any more.
    """
    buffers = [(module, dict(module.named_buffers(recurse=False))) for module in model.modules()]
    try:
        return _replay(model, record, max_bytes)
    except ModelError:
        if not _warmed(model, record, buffers, max_bytes):
            raise
    try:
        return _replay(model, record, max_bytes)
    except ModelError:
        for module, before in buffers:
            vars(module)["_buffers"].update(before)
        raise


def _warmed(
    model: nn.Module,
    record: Record,
    buffers: Sequence[tuple[nn.Module, Mapping[str, Tensor]]],
    max_bytes: int | None,
) -> bool:
    """Run the model, and return whether it made buffers by that, which the one that was cut may have had."""
    try:
        args, kwargs = as_arguments(record.inputs(max_bytes))
        with evaluating(model):
            model(*args, **kwargs)
    except Exception:  # whatever a forward raises: it is not what the surgery was done on
        return False
    return any(
        tensor is not before.get(name)
        for module, before in buffers
        for name, tensor in module.named_buffers(recurse=False)
    )


def _replay(model: nn.Module, record: Record, max_bytes: int | None) -> nn.Module:
    if record.blocks:
        return _without_blocks(model, record, max_bytes)
    _check(model, record)
    if record.attributes is None:
        inputs = record.inputs(max_bytes)
        cut = cut_of(trace_axes(trace(model, inputs)), record.kept)
        return as_module(cut, model, inputs)
    shrink(model, record.kept)
    set_attributes(model, record.attributes)
    return model


def _without_blocks(model: nn.Module, record: Record, max_bytes: int | None) -> nn.Module:
    """Return ``model`` without the blocks that were removed: itself, or as a rewritten graph."""
    if record.attributes is not None:
        check_places(model, record.places)
        put(model, record.places)
        return model
    inputs = record.inputs(max_bytes)
    tracing = trace_axes(trace(model, inputs))
    graph = tracing.graph
    found = {(block.name, bool(block.module)): block for block in find_modules(model, graph)}
    found |= {(block.name, bool(block.module)): block for block in find_branches(graph)}
    for gone in record.blocks:
        block = found.get((gone.name, gone.whole))
        if block is None or block.tensors != frozenset(gone.tensors):
            holds = "there is none" if block is None else f"here it holds {', '.join(sorted(block.tensors))}"
            raise ModelError(
                f"{type(model).__name__} is not what the surgery was done on: block {gone.name}, which held "
                f"{', '.join(gone.tensors)}, was removed; {holds}. Make it with the class and the arguments "
                f"of then. Nothing was changed."
            )
    return without(model, tracing, [found[gone.name, gone.whole] for gone in record.blocks], inputs)


def _check(model: nn.Module, record: Record) -> None:
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(
        model.named_buffers(remove_duplicate=False)
    )
    problems = [f"{name}: not there" for name in record.kept if name not in tensors]
    problems += [
        f"{name}: {tuple(tensors[name].shape)}, expected {len(kept)} along dimension {dim}"
        for name, dims in record.kept.items()
        for dim, kept in dims.items()
        if name in tensors and (tensors[name].ndim <= dim or tensors[name].shape[dim] != len(kept))
    ]
    problems += [
        f"{path or 'the network'}: {name!r} is no size that could become {value!r}"
        for path, values in (record.attributes or {}).items()
        for name, value in values.items()
        if not _is_size(dict(model.named_modules()).get(path), name, value)
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ModelError(
            f"{type(model).__name__} is not what the surgery was done on: {'; '.join(problems[:5])}{more}. "
            f"Make it with the class and the arguments of then. Nothing was changed."
        )


def _is_size(module: nn.Module | None, name: str, value: Any) -> bool:
    """Whether ``name`` is a size of a module, or of its configuration, and ``value`` what a cut leaves of it.

    The file may be a stranger's: whatever is no number stays as it is.
    """
    held: Any = module
    *above, own = name.split(".")
    for place, step in enumerate(above):
        held = vars(held).get(step) if held is not None and (place or step == "config") else None
        held = held if is_configuration(held) else None
    if held is None or own.startswith("_") or (isinstance(held, _KNOWN) and own not in _SIZES):
        return False
    before = vars(held).get(own)
    if isinstance(before, list | tuple) and isinstance(value, tuple):
        pairs = list(zip(cast("Sequence[Any]", before), cast("tuple[Any, ...]", value), strict=False))
        return len(value) == len(before) > 0 and all(_is_less(*pair) for pair in pairs)  # pyright: ignore
    return _is_less(before, value)


def _is_less(before: Any, value: Any) -> bool:
    """Whether both are whole numbers, and ``value`` may be what is left."""
    return type(before) is int and type(value) is int and (1 <= value <= before or value == before)
