"""A student made of its teacher: some of its blocks, the fraction of its widths, and its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from featherweight.core.prunable import unwrap
from featherweight.core.trace import Example, as_arguments, evaluating
from featherweight.distillation.students.choice import Layers, kept_of
from featherweight.distillation.students.numbering import recount, renumber_blocks
from featherweight.distillation.students.stacks import Stack, chosen_stacks
from featherweight.errors import ModelError, SettingError
from featherweight.structured.given import check_given
from featherweight.structured.prune import prune_structured
from featherweight.structured.record import surgeries_of


def student_from(
    teacher: nn.Module,
    layers: Layers | None = "every other",
    *,
    stack: str | Sequence[str] | None = None,
    width: float | None = None,
    example_inputs: Example | None = None,
) -> nn.Module:
    """Return a shallower, or narrower, copy of ``teacher`` with the weights of what it keeps.

    The start of DistilBERT (Sanh et al. 2019, https://arxiv.org/abs/1910.01108). Blocks are numbered anew, so
    that the student has the names of a network that is made with so many; attributes that number or count
    blocks, and entries of a ``config``, are set to what they are now. Where all of the teacher is frozen, the
    student is not.

    Args:
        teacher: the network; it is not changed. Of a compiled or data-parallel one, that inside is copied.
        layers: which blocks of a stack (an nn.ModuleList or nn.Sequential of one class) stay: "every other"
            (0, 2, 4, ...), "first" or "last" (half of them), a number of blocks (evenly spread, with the
            first and the last), or indices. None: all of them.
        stack: path of the stack, or a pattern or several, of which each keeps ``layers``: "stages.*". None:
            the longest one.
        width: fraction of the channels, heads and features that stay in each group at most; those with the
            largest weights do (see ``prune_structured`` with scope "group"). Needs ``example_inputs``.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments. With them the
            student is run, and must return what has the shapes of the teacher's outputs.

    Raises:
        SettingError: a setting is wrong, or several stacks are the longest: names them.
        ModelError: there is no stack, the teacher was cut before, or the student does not run.
        TraceError, SurgeryError: its width cannot be cut; see ``prune_structured``.
    """
    teacher = unwrap(teacher)
    _check(layers, stack, width, example_inputs)
    plan: list[tuple[Stack, tuple[int, ...]]] = []
    if layers is not None:
        _check_uncut(teacher)
        for found in chosen_stacks(teacher, stack):
            kept = kept_of(layers, found.length)
            found.check(kept)
            plan.append((found, kept))
    if example_inputs is not None:
        check_given(teacher, example_inputs)
    student = _without_blocks(teacher, plan)
    if plan and example_inputs is not None:
        _check_runs(student, teacher, plan, example_inputs)
    if width is not None and example_inputs is not None:
        student, _ = prune_structured(student, example_inputs, keep=width, scope="group")
    if not any(parameter.requires_grad for parameter in teacher.parameters()):
        student.requires_grad_(True)
    return student


def _check(layers: object, stack: object, width: float | None, example_inputs: object) -> None:
    if layers is None and width is None:
        raise SettingError("layers=None and width=None make no smaller student: give one of them.")
    if layers is None and stack is not None:
        raise SettingError("stack= would do nothing with layers=None: all blocks stay.")
    if width is not None and example_inputs is None:
        raise SettingError("width= is cut by following the network: give example_inputs=.")
    if width is not None and not 0 < width < 1:
        raise SettingError(f"width is a fraction above 0 and below 1, got {width!r}.")


def _check_uncut(teacher: nn.Module) -> None:
    if surgeries_of(teacher):
        raise ModelError(
            "The teacher was cut by prune_structured, and what the file of a student says of that would name "
            "other blocks. Make the student first, of the network as it was, and cut the student."
        )


def _without_blocks(teacher: nn.Module, plan: Sequence[tuple[Stack, tuple[int, ...]]]) -> nn.Module:
    """Return a copy of ``teacher`` in which the stacks hold their kept blocks, numbered anew."""
    student = copy.deepcopy(teacher)
    for stack, kept in plan:
        holder = student.get_submodule(stack.path)
        names, blocks = zip(*vars(holder)["_modules"].items(), strict=True)  # one that comes twice, too
        renumber_blocks(blocks, kept)
        numbered = all(name[-1:].isdigit() for name in names)
        for name in names:
            delattr(holder, name)
        for new, old in enumerate(kept):
            holder.add_module(names[new] if numbered else names[old], blocks[old])
        recount(student, stack.path, stack.length, kept)
    return student


def _check_runs(
    student: nn.Module,
    teacher: nn.Module,
    plan: Sequence[tuple[Stack, tuple[int, ...]]],
    example: Example,
) -> None:
    what = " and ".join(f"blocks {list(kept)} of {stack}" for stack, kept in plan)
    try:
        goal = _shapes_of_outputs(teacher, example)
    except Exception as error:
        raise SettingError(
            f"example_inputs do not fit the teacher, a {type(teacher).__name__}: {_first_line(error)}"
        ) from error
    try:
        own = _shapes_of_outputs(student, example)
    except Exception as error:  # whatever a forward raises that counts on blocks which are not there
        raise ModelError(
            f"With {what}, {type(teacher).__name__} does not run: {_first_line(error)} Another part of "
            f"it may count its blocks; or name another stack with stack=."
        ) from error
    if own != goal:
        raise ModelError(
            f"With {what}, {type(teacher).__name__} returns {own}, and the teacher {goal}: these are no "
            f"blocks in a row. Name another stack with stack=."
        )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().split(chr(10), maxsplit=1)[0]}"


def _shapes_of_outputs(model: nn.Module, example: Example) -> list[list[tuple[int, ...]]]:
    """Return the distinct sizes in each part of the outputs: a student has fewer hidden states."""
    args, kwargs = as_arguments(example)
    with evaluating(model):
        outputs: Any = model(*args, **kwargs)
    parts: Any = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [
        sorted({tuple(leaf.shape) for leaf in tree_leaves(part) if isinstance(leaf, Tensor)})
        for part in ([parts] if isinstance(parts, Tensor) else parts)
    ]
