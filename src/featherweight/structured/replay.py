"""A recorded surgery, done again on a fresh network of the class that it was done on."""

from __future__ import annotations

from torch import nn

from featherweight.core.trace import trace
from featherweight.errors import ModelError
from featherweight.structured.attributes import set_attributes
from featherweight.structured.axes import trace_axes
from featherweight.structured.cut import cut_of
from featherweight.structured.depth.blocks import find_branches, find_modules
from featherweight.structured.depth.remove import without
from featherweight.structured.depth.skipped import check_places, put
from featherweight.structured.graph_module import as_module
from featherweight.structured.record import Record
from featherweight.structured.rewrite import shrink


def replay(model: nn.Module, record: Record) -> nn.Module:
    """Cut ``model`` as ``record`` says: in place, or as a rewritten graph where that was the result.

    Raises:
        ModelError: the class has changed since; the model is not changed.
        TraceError: the model cannot be traced any more.
    """
    if record.blocks:
        return _without_blocks(model, record)
    _check(model, record)
    if record.attributes is None:
        inputs = record.inputs()
        cut = cut_of(trace_axes(trace(model, inputs)), record.kept)
        return as_module(cut, model, inputs)
    shrink(model, record.kept)
    set_attributes(model, record.attributes)
    return model


def _without_blocks(model: nn.Module, record: Record) -> nn.Module:
    """Return ``model`` without the blocks that were removed: itself, or as a rewritten graph."""
    if record.attributes is not None:
        check_places(model, record.places)
        put(model, record.places)
        return model
    inputs = record.inputs()
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
    modules = dict(model.named_modules())
    problems += [
        f"{path or 'the network'}: no attribute {name!r}"
        for path, values in (record.attributes or {}).items()
        for name in values
        if not hasattr(modules.get(path), name)
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ModelError(
            f"{type(model).__name__} is not what the surgery was done on: {'; '.join(problems[:5])}{more}. "
            f"Make it with the class and the arguments of then. Nothing was changed."
        )
