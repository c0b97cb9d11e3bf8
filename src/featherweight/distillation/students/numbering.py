"""What a network says of its layers, brought in line with the blocks that stayed.

Numbers of layers within blocks (``layer_idx``) are found by what they are: in every block one higher than in
the block before. How many blocks there are is said by attributes of modules above the stack, and by entries
of a configuration (Hugging Face and its like). Which entry it is, is found by making the network anew of its
configuration, without memory for its tensors; where that cannot be done, by its name.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from featherweight.structured.undo import is_configuration

# What counts blocks, as an attribute of a module or an entry of a configuration.
COUNTS = (
    "num_hidden_layers", "num_layers", "n_layers", "n_layer", "encoder_layers", "decoder_layers",
    "num_decoder_layers", "num_blocks", "n_blocks", "depth",
)  # fmt: skip
HOLDER = "config"

Entries = dict[str, tuple[Any, Any]]  # of a configuration, by name: what it was, what it is to be


def renumber_blocks(blocks: Sequence[nn.Module], kept: Sequence[int]) -> None:
    """Let the numbers that ``blocks``, a whole stack, hold of themselves be those after the others went."""
    parts = [dict(block.named_modules()) for block in blocks]
    for path, first in parts[0].items():
        if not all(path in part for part in parts):
            continue
        for name, start in list(vars(first).items()):
            held = [vars(part[path]).get(name) for part in parts]
            if type(start) is int and held == list(range(start, start + len(blocks))):
                for new, old in enumerate(kept):
                    setattr(parts[old][path], name, start + new)


def recount(model: nn.Module, path: str, length: int, kept: Sequence[int]) -> None:
    """Let the modules above a stack, and their configurations, say which blocks it has now.

    Args:
        model: the student, its blocks gone already.
        path: of the stack.
        length: number of blocks that it had.
        kept: which stayed.
    """
    entries: Entries = {}
    done: set[int] = set()
    for module in _above(model, path):
        for name in COUNTS:
            if type(vars(module).get(name)) is int and vars(module)[name] == length:
                setattr(module, name, len(kept))
        held = vars(module).get(HOLDER)
        if not is_configuration(held) or id(held) in done:
            continue
        done.add(id(held))
        if not entries or any(vars(held).get(name) != old for name, (old, _) in entries.items()):
            entries = _entries(module, held, length, kept)
        for name, (_, new) in entries.items():
            setattr(held, name, new)


def _above(model: nn.Module, path: str) -> Iterator[nn.Module]:
    """Yield the modules that a stack is in, the outermost first."""
    names = path.split(".")
    for stop in range(len(names)):
        yield model.get_submodule(".".join(names[:stop]))


def _entries(module: nn.Module, held: Any, length: int, kept: Sequence[int]) -> Entries:
    """Return the entries with which ``module`` is made anew as it is now; what counts by its name if none."""
    values = vars(held)
    of_layers = {
        name: (value, type(value)(value[i] for i in kept))
        for name, value in values.items()
        if isinstance(value, list | tuple) and len(value) == length and _tells_layers(name)
    }
    options = [(name, new) for name, value in values.items() for new in _recounted(value, length, len(kept))]
    now = _shapes(module)
    for chosen in itertools.chain(*(itertools.combinations(options, number) for number in (1, 2))):
        found = of_layers | {name: (values[name], new) for name, new in chosen}
        made = _made(module, held, found)
        if made is not None and _shapes(made) == now:
            return found
    return of_layers | {name: (length, len(kept)) for name in COUNTS if values.get(name) == length}


def _tells_layers(name: str) -> bool:
    return not name.startswith("_") and ("layer" in name or "block" in name)


def _recounted(value: Any, length: int, now: int) -> Iterator[Any]:
    """Yield what an entry that counts the blocks would be: a number, or one of a list of them (stages)."""
    if type(value) is int and value == length:
        yield now
    elif isinstance(value, list) and all(type(entry) is int for entry in value):
        for place, entry in enumerate(value):
            if entry == length:
                yield [*value[:place], now, *value[place + 1 :]]


def _made(module: nn.Module, held: Any, entries: Entries) -> nn.Module | None:
    """Return the module made anew with other entries, without memory; None if it cannot be."""
    try:
        with torch.random.fork_rng([]), torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = copy.deepcopy(held)
            for name, (_, new) in entries.items():
                setattr(other, name, new)
            return type(module)(other)
    except Exception:  # the class is the user's: whatever it raises, it is not made of a configuration
        return None


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    tensors = (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    )
    return {name: tuple(tensor.shape) for name, tensor in tensors}
