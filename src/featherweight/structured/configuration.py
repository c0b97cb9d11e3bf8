"""Entries of a configuration, brought in line with a cut network.

A model that is made of its configuration alone (those of Hugging Face, nanoGPT, ...) tells its sizes there,
too. Which entries are which sizes is found by making the model anew, without memory for its tensors: those
entries are set with which it has the sizes of the cut one. Of entries that no size tells (a number of heads)
those are set without which the new model computes something else.

Where layers have been left with different widths, no configuration makes them. Then only the width of the
embedding is set, and of the other entries those whose name modules have for an attribute too, and which was
set to one and the same value in all of them.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, islice, product
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.structured.attributes import Attributes, sizes_changed
from featherweight.structured.cut import Cut
from featherweight.structured.rewrite import tensors_of
from featherweight.structured.undo import is_configuration

HOLDER = "config"  # the attribute of a model
TRIALS = 64
_HIDDEN = "hidden_size"  # what Hugging Face calls the width of the embedding, whatever a class calls it

Shapes = Mapping[str, tuple[int, ...]]
Entries = dict[str, int]


def fit_configuration(model: nn.Module, cut: Cut, computes: Callable[[nn.Module], bool]) -> Entries:
    """Return the entries of ``model.config``, by dotted names, with which a new model is as the cut one.

    Args:
        model: the network; its tensors are cut already.
        cut: what was cut.
        computes: whether a network, with the tensors of ``model``, computes what is expected.

    Returns:
        Nothing where the model has no configuration, is not made of it alone, or no entries fit.
    """
    held = vars(model).get(HOLDER)
    if not is_configuration(held):
        return {}
    now = _shapes(model)
    whole = {name: _whole_shape(cut, name, shape) for name, shape in now.items()}
    if (made := _made(model, held, {})) is None or _shapes(made) != whole:
        return {}
    options = _options(held, sizes_changed(cut))
    alone = {path: _made(model, held, {path: values[0]}) for path, values in options.items()}
    telling = [path for path, new in alone.items() if new is None or _resizes(_shapes(new), whole)]
    silent = [path for path, new in alone.items() if new is not None and _shapes(new) == whole]
    for chosen in _choices({path: options[path] for path in telling}):
        made = _made(model, held, chosen)
        if made is not None and _shapes(made) == now:
            return chosen | _needed(model, held, chosen, {p: options[p] for p in silent}, computes)
    return {}


def entries_by_name(model: nn.Module, attributes: Attributes) -> Entries:
    """Return the entries that one number still tells where layers differ."""
    held = vars(model).get(HOLDER)
    if not is_configuration(held):
        return {}
    found: Entries = {}
    for name, value in vars(held).items():
        new = {values[name] for values in attributes.values() if type(values.get(name)) is int}
        kept = {vars(m)[name] for m in model.modules() if type(vars(m).get(name)) is int}
        if type(value) is int and len(new) == 1 and kept == new:
            found[name] = new.pop()
    embedding = _embedding(model)
    own = dict(getattr(held, "attribute_map", {})).get(_HIDDEN, _HIDDEN)
    if embedding is not None and type(getattr(held, own, None)) is int:
        found[own] = embedding.shape[-1]
    return {name: value for name, value in found.items() if getattr(held, name) != value}


def as_attributes(model: nn.Module, entries: Entries) -> Attributes:
    """Return entries as attributes of the model, and of modules that hold a copy of its configuration."""
    own, seen = vars(model).get(HOLDER), set[int]()
    found: Attributes = {}
    for path, module in model.named_modules():
        held = vars(module).get(HOLDER)
        if entries and type(held) is type(own) and id(held) not in seen:
            found[path] = {f"{HOLDER}.{name}": value for name, value in entries.items()}
            seen.add(id(held))
    return found


def _embedding(model: nn.Module) -> Tensor | None:
    find = getattr(model, "get_input_embeddings", None)
    try:
        return None if find is None else find().weight
    except (AttributeError, NotImplementedError):
        return None


def _needed(
    model: nn.Module, held: Any, chosen: Entries, silent: Mapping[str, list[int]],
    computes: Callable[[nn.Module], bool],
) -> Entries:  # fmt: skip
    """Return the fewest of the entries that no size tells with which the new model computes the same."""
    sets = (names for number in range(len(silent) + 1) for names in combinations(silent, number))
    tries = (values for names in sets for values in _choices({name: silent[name] for name in names}))
    for more in islice(tries, TRIALS):
        made = _made(model, held, chosen | more)
        if made is not None and _shapes(made) == _shapes(model) and computes(_with_tensors(made, model)):
            return more
    return {}


def _choices(options: Mapping[str, list[int]]) -> Iterator[Entries]:
    """Yield a value for each of the entries, or none; those that change most first."""
    each = [[*values, None] for values in options.values()]
    for values in islice(product(*each), TRIALS):
        yield {name: value for name, value in zip(options, values, strict=True) if value is not None}


def _options(held: Any, changes: set[tuple[int, int]], prefix: str = "") -> dict[str, list[int]]:
    """Return the entries that may be sizes which the cut changes, with what they may be then."""
    found: dict[str, list[int]] = {}
    for name, value in vars(held).items():
        if type(value) is int and (new := sorted({after for before, after in changes if before == value})):
            found[prefix + name] = new
        elif is_configuration(value) and not name.startswith("_") and not prefix:
            found |= _options(value, changes, f"{name}.")
    return {name: values for name, values in found.items() if not name.startswith("_")}


def _made(model: nn.Module, held: Any, entries: Entries) -> nn.Module | None:
    """Return a new model of the configuration with other entries, without memory; None if it cannot be."""
    try:
        with torch.random.fork_rng([]), torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = copy.deepcopy(held)
            for path, value in entries.items():
                *above, name = path.split(".")
                place = other
                for step in above:
                    place = getattr(place, step)
                setattr(place, name, value)
            return type(model)(other).train(model.training)
    except Exception:  # the class is the user's: whatever it raises, this is not a configuration of it
        return None


def _with_tensors(made: nn.Module, model: nn.Module) -> nn.Module:
    """Return ``made`` with the parameters and buffers of ``model``."""
    modules = dict(made.named_modules())
    for name, tensor in tensors_of(model).items():
        path, _, own = name.rpartition(".")
        kind = "_parameters" if own in vars(modules[path])["_parameters"] else "_buffers"
        vars(modules[path])[kind][own] = tensor
    return made


def _shapes(model: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors_of(model).items()}


def _resizes(new: Shapes, whole: Shapes) -> bool:
    """Whether tensors have other sizes, and are the same ones: not a layer fewer."""
    return new.keys() == whole.keys() and new != whole


def _whole_shape(cut: Cut, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sizes of a tensor before the cut."""
    kept = cut.stored.get(cut.tracing.graph.first_name(name), {})
    return tuple(len(kept[dim]) if dim in kept else size for dim, size in enumerate(shape))
