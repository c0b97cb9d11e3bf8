"""Which modules of a network stand for bypassed ones, so that its class computes what is left.

A block that is a whole module becomes one that returns its input. Of a branch, the modules whose parameters
go return their input too, and the last of them zeros: what comes after them keeps zeros, or the comparison
with the reference refuses it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from featherweight.core.trace import Example, Graph, as_arguments, evaluating, refs
from featherweight.structured.depth.blocks import Block
from featherweight.structured.depth.skipped import Standing


def places_of(
    model: nn.Module, graph: Graph, blocks: Sequence[Block], example: Example
) -> dict[str, Standing] | None:
    """Return what may stand where in ``model``, which is not changed; None where that cannot be told.

    Args:
        model: the network.
        graph: of it.
        blocks: what is to be bypassed.
        example: inputs.
    """
    wanted: dict[str, bool] = {block.module: False for block in blocks if block.module}
    for block in blocks:
        if not block.module:
            wanted |= _of_branch(model, graph, block)
    seen = _watch(model, wanted, example)
    places: dict[str, Standing] = {}
    for path, zeros in wanted.items():
        standing = _standing(model.get_submodule(path), seen[path], zeros)
        if standing is None:
            return None
        places[path] = standing
    return places


def _of_branch(model: nn.Module, graph: Graph, block: Block) -> dict[str, bool]:
    """Return the largest modules that hold nothing but what goes, and whether each returns zeros."""
    used = {
        graph.stored[ref.name] for c in graph.calls for ref in refs(c.arguments) if ref.name in graph.stored
    }
    used |= {name for name, first in graph.aliases.items() if first in used}
    found: list[str] = []
    for path, module in model.named_modules(remove_duplicate=False):
        own = {f"{path}.{name}" for name in _names(module)} & used
        inside = any(path.startswith(f"{other}.") for other in found)
        if path and own and own <= block.tensors and not inside:
            found.append(path)
    last = {
        path: place for place, call in enumerate(graph.calls) for path in found if _within(call.module, path)
    }
    if not last:
        return {}
    return {path: path == max(last, key=lambda name: last[name]) for path in found}


def _names(module: nn.Module) -> Iterable[str]:
    yield from dict(module.named_parameters(remove_duplicate=False))
    yield from dict(module.named_buffers(remove_duplicate=False))


def _within(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.")


_Seen = list[tuple[tuple[Any, ...], Mapping[str, Any], Any]]  # arguments and results of the calls of a module


def _watch(model: nn.Module, paths: Iterable[str], example: Example) -> dict[str, _Seen]:
    """Run the network; return what the modules were given and what they returned."""
    seen: dict[str, _Seen] = {path: [] for path in paths}

    def watching(path: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            seen[path].append((args, kwargs, output))

        return hook

    handles = [
        model.get_submodule(path).register_forward_hook(watching(path), with_kwargs=True) for path in seen
    ]
    args, kwargs = as_arguments(example)
    try:
        with evaluating(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _standing(module: nn.Module, seen: _Seen, zeros: bool) -> Standing | None:
    if len(seen) != 1:
        return None
    ((args, kwargs, output),) = seen
    length = None if isinstance(output, Tensor) else len(output) if isinstance(output, tuple) else 0  # pyright: ignore
    if length == 0:
        return None
    given = [*enumerate(args), *kwargs.items()]
    argument = next((name for name, value in given if isinstance(value, Tensor)), None)
    if argument is None:
        return None
    return Standing(argument, length, zeros, tuple(module.state_dict()))
