"""Stacks of blocks in a network: lists of modules of one class, some of which can be left out.

A block can be left out where it gives what it takes. That is known, without running anything, of two blocks
in a row with the same tensors and strides: the second takes what the first gives. The first block of a
residual stage, which changes the shape, is like no other, and stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from featherweight.errors import ModelError, SettingError


@dataclass(frozen=True)
class Stack:
    """A list of blocks.

    Attributes:
        path: of the nn.ModuleList or nn.Sequential.
        kind: class of its blocks, by name.
        length: number of blocks.
        loose: indices of those that can be left out.
    """

    path: str
    kind: str
    length: int
    loose: frozenset[int]

    def __str__(self) -> str:
        return f"{self.path!r} ({self.length} {self.kind})"

    def check(self, kept: Sequence[int]) -> None:
        """Raise SettingError unless all blocks but ``kept`` can be left out."""
        needed = sorted(set(range(self.length)) - self.loose - set(kept))
        if needed:
            raise SettingError(
                f"Of {self}, blocks {_listed(needed)} are unlike their neighbours (they change the shape), "
                f"and cannot be left out; {_listed(sorted(self.loose))} can. Name those that stay with "
                f"layers=[...]."
            )


def find_stacks(model: nn.Module) -> tuple[Stack, ...]:
    """Return the stacks of ``model`` of which blocks can be left out; none that lie within a block."""
    found: list[Stack] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{stack.path}." if stack.path else "") for stack in found)
        if not inside and (stack := _stack(path, module)) is not None:
            found.append(stack)
    return tuple(found)


def chosen_stacks(model: nn.Module, wanted: str | Sequence[str] | None) -> tuple[Stack, ...]:
    """Return the stacks to take blocks from.

    Args:
        model: the network.
        wanted: path of a stack, a pattern such as "stages.*", or several; None: the longest.

    Raises:
        ModelError: there is no stack.
        SettingError: a path is none of a stack, or several stacks are the longest; names them.
    """
    stacks = find_stacks(model)
    if not stacks:
        raise ModelError(
            f"{type(model).__name__} has no nn.ModuleList or nn.Sequential with blocks of one class and "
            f"shape, of which some could be left out. layers=None keeps all, to make a narrower student."
        )
    if wanted is None:
        return (_longest(stacks),)
    chosen: list[Stack] = []
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        hits = [stack for stack in stacks if stack.path == pattern or fnmatchcase(stack.path, pattern)]
        if not hits:
            raise SettingError(f"stack={pattern!r} is no stack: {_instead(model, pattern, stacks)}")
        chosen += [stack for stack in hits if stack not in chosen]
    return tuple(chosen)


def _longest(stacks: Sequence[Stack]) -> Stack:
    longest = max(stack.length for stack in stacks)
    first, *others = [stack for stack in stacks if stack.length == longest]
    if others:
        several = ", ".join(map(str, (first, *others)))
        raise SettingError(
            f"Several stacks are the longest: {several}. Name one with stack={first.path!r}, or several: "
            f"stack={[stack.path for stack in (first, *others)]}."
        )
    return first


def _instead(model: nn.Module, path: str, stacks: Sequence[Stack]) -> str:
    found = dict(model.named_modules()).get(path)
    what = "the network has no such module" if found is None else f"it is a {type(found).__name__}"
    return f"{what}. Stacks of blocks of one class and shape are {', '.join(map(str, stacks))}."


def _stack(path: str, module: nn.Module) -> Stack | None:
    if not isinstance(module, nn.ModuleList | nn.Sequential):
        return None
    blocks = list(module)
    if len(blocks) < 2 or len({type(block) for block in blocks}) > 1:
        return None
    forms = [_form(block) for block in blocks]
    pairs = [i for i in range(len(blocks) - 1) if forms[i] == forms[i + 1] and forms[i][0]]
    loose = frozenset(pairs) | {i + 1 for i in pairs}
    return Stack(path, type(blocks[0]).__name__, len(blocks), loose) if loose else None


def _form(block: nn.Module) -> tuple[object, ...]:
    """Return what two blocks with the same inputs and outputs have in common."""
    tensors = tuple((name, tuple(tensor.shape)) for name, tensor in block.state_dict().items())
    strides = tuple(str(getattr(part, "stride", None)) for part in block.modules())
    return tensors, strides


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
