"""Which tensor of the student is compared with which of the teacher.

``features="auto"`` follows what a loss asks for:

- stages: the last map of each resolution. Resolutions are steps of 2 down from the image; equal ones are
  paired, and where none are equal, coarse is paired with coarse. Maps inside a block that halves the
  resolution belong to the next stage, and maps of one pixel to none.
- blocks: outputs of the longest stacks of blocks of one class that give tokens. Block i of l is paired with
  block (i + 1) L // l - 1 of L. A network of maps has stages in their place.
- a network of maps and one of tokens (a grid of g x g): each stage of up to about 2g and down to about g/2 is
  paired with the block at its relative depth.
- embedding: the input of the last linear layer that runs.

Everything follows from one pass over an example, and from nothing random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any, NamedTuple, TypeVar, cast

from torch import nn

from featherweight.distillation.attention_taps import Attention, attention_at, find_attention, looked_for
from featherweight.distillation.losses import DistillationLoss
from featherweight.distillation.projectors import grid_of
from featherweight.distillation.survey import Seen, Survey
from featherweight.distillation.taps import Side, Tap, expand
from featherweight.errors import ModelError, SettingError

T = TypeVar("T")


class Pair(NamedTuple):
    """Two modules, or two patterns that stand for equally many, whose outputs (or inputs) are compared."""

    teacher: str
    student: str
    side: Side = "output"


@dataclass(frozen=True)
class Compared:
    """One tensor of the teacher and the one of the student that it is compared with.

    Attributes:
        loss: that compares them, by name.
        teacher_number: from 0.
        teacher: path in the teacher.
        student: path in the student.
        teacher_shape: on the example; of attention, that of the queries.
        student_shape: likewise.
    """

    loss: str
    teacher_number: int
    teacher: str
    student: str
    teacher_shape: tuple[int, ...]
    student_shape: tuple[int, ...]

    def __str__(self) -> str:
        which = f" {self.teacher_number + 1}" if self.teacher_number else ""
        return (
            f"{self.loss}: teacher{which} {self.teacher} {self.teacher_shape} - "
            f"student {self.student} {self.student_shape}"
        )


class Pairs(tuple[Compared, ...]):
    """All that is compared; printed, a line for each."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no features"


Features = str | Sequence[Pair | tuple[str, str]] | Mapping[str, Sequence[Pair | tuple[str, str]]]


@dataclass(frozen=True)
class Wiring:
    """What one loss compares, each (of the teacher, of the student)."""

    features: tuple[tuple[Tap, Tap], ...] = ()
    attention: tuple[tuple[Attention, Attention], ...] = ()


def wire(loss: DistillationLoss, named: Sequence[Pair] | None, teacher: Survey, student: Survey) -> Wiring:
    """Return what ``loss`` compares.

    Args:
        loss: says what it needs.
        named: pairs that the user gave; None: the loss's own choice.
        teacher: the teacher's modules.
        student: the student's modules.

    Raises:
        SettingError: a path is no module's, or patterns stand for different numbers of modules.
        ModelError: a network has nothing that the loss needs.
    """
    features: tuple[tuple[Tap, Tap], ...] = ()
    attention: tuple[tuple[Attention, Attention], ...] = ()
    if loss.features is not None:
        features = _expanded(named, teacher, student) if named else _auto(loss.features, teacher, student)
    if loss.attention is not None:
        only = named if loss.features is None else None
        attention = _attention(loss.attention, only, teacher, student)
    return Wiring(features, attention)


def pairs_for(features: Features, losses: Mapping[str, DistillationLoss]) -> dict[str, Sequence[Pair] | None]:
    """Return the pairs that the user named for each loss, None for its own choice.

    Raises:
        SettingError: ``features`` has another form, names pairs for a loss that takes none, or for no loss.
    """
    takers = [name for name, loss in losses.items() if loss.features or loss.attention]
    if features == "auto":
        return dict.fromkeys(losses)
    if isinstance(features, str):
        raise SettingError(
            f"features is 'auto', pairs (teacher path, student path), or a mapping of losses to such pairs; "
            f"got {features!r}."
        )
    if not takers:
        raise SettingError(f"features= would do nothing: none of {', '.join(losses)} compares features.")
    named = features if isinstance(features, Mapping) else dict.fromkeys(takers, features)
    useless = [name for name in named if name not in takers]
    if useless or not named:
        raise SettingError(
            f"features= names pairs for {useless or 'nothing'}; the losses that compare features here: "
            f"{', '.join(takers)}."
        )
    return {name: _pairs(named[name]) if name in named else None for name in losses}


def _pairs(given: Any) -> Sequence[Pair]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise SettingError(f"features= takes pairs [(teacher path, student path), ...]; got {given!r}.")
    for pair in cast("Sequence[Any]", given):
        is_pair = isinstance(pair, tuple | list) and 2 <= len(cast("Sequence[Any]", pair)) <= 3
        if not is_pair or not all(isinstance(part, str) for part in pair) or Pair(*pair).side not in _SIDES:
            raise SettingError(
                f"A pair of features is (teacher path, student path), or Pair(teacher, student, 'input'); "
                f"got {pair!r}."
            )
    return [Pair(*pair) for pair in given]


_SIDES = ("output", "input")


def _matched(pair: Pair, teacher: Survey, student: Survey) -> list[tuple[str, str]]:
    goal, own = expand(teacher.network, pair.teacher), expand(student.network, pair.student)
    if len(goal) != len(own):
        raise SettingError(
            f"{pair.teacher!r} stands for {len(goal)} modules of the teacher ({_listed(goal)}), and "
            f"{pair.student!r} for {len(own)} of the student ({_listed(own)}): they are paired in order."
        )
    return list(zip(goal, own, strict=True))


def _expanded(named: Sequence[Pair], teacher: Survey, student: Survey) -> tuple[tuple[Tap, Tap], ...]:
    found: list[tuple[Tap, Tap]] = []
    for pair in named:
        for goal, own in _matched(pair, teacher, student):
            for path, survey in ((goal, teacher), (own, student)):
                if path not in survey.by_path or _shown(survey.by_path[path], pair.side) is None:
                    raise ModelError(
                        f"{path!r} of the {survey.which} gave no tensor as {pair.side} on the example: tap a "
                        f"module that runs."
                    )
            found.append((Tap(goal, pair.side), Tap(own, pair.side)))
    return tuple(found)


def _shown(seen: Seen, side: Side) -> Any:
    return seen.shape if side == "output" else seen.source


def _auto(wanted: str, teacher: Survey, student: Survey) -> tuple[tuple[Tap, Tap], ...]:
    if wanted == "embedding":
        return ((Tap(_classifier(teacher), "input"), Tap(_classifier(student), "input")),)
    goal, own = _stack(teacher), _stack(student)
    if goal and own:
        pairs = uniform(goal, own)
    elif goal or own:
        pairs = _tokens_and_maps(goal, own, teacher, student)
    else:
        pairs = _by_resolution(_stages(teacher), _stages(student))
    if not pairs:
        raise _nothing(teacher if not (goal or _stages(teacher)) else student)
    return tuple((Tap(a.path), Tap(b.path)) for a, b in pairs)


def _nothing(survey: Survey) -> ModelError:
    names = ", ".join(seen.path for seen in survey.seen[:8])
    return ModelError(
        f"features='auto' found no maps of several pixels and no stack of blocks that give tokens in the "
        f"{survey.which}, {type(survey.network).__name__}. Name pairs: "
        f"features=[(teacher path, student path)], from modules such as {names}."
    )


def _classifier(survey: Survey) -> str:
    linear = [seen.path for seen in survey.seen if isinstance(seen.module, nn.Linear)]
    if not linear:
        raise ModelError(
            f"The {survey.which}, {type(survey.network).__name__}, runs no nn.Linear, whose input would be "
            f"its embedding. Name a pair: features=[(teacher path, student path)]."
        )
    return linear[-1]


def uniform(goal: Sequence[T], own: Sequence[T]) -> list[tuple[T, T]]:
    """Pair all of the shorter with some of the longer at uniform depth, the last with the last."""
    short = min(len(goal), len(own))
    return [
        (goal[(i + 1) * len(goal) // short - 1], own[(i + 1) * len(own) // short - 1]) for i in range(short)
    ]


# Tokens


def _stack(survey: Survey) -> list[Seen]:
    """Return the blocks of the longest stack of two or more that give tokens; of equal ones the first."""
    seen, best = survey.by_path, list[Seen]()
    for path, module in survey.network.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        blocks = [seen.get(f"{path}.{name}".lstrip(".")) for name, _ in module.named_children()]
        ran = [
            block for block in blocks if block is not None and block.tokens and block.source == block.shape
        ]
        if (
            len(ran) == len(blocks)
            and len({type(block.module) for block in ran}) == 1
            and len(ran) > len(best)
        ):
            best = ran
    return best if len(best) > 1 else []


def _tokens_and_maps(
    goal: list[Seen], own: list[Seen], teacher: Survey, student: Survey
) -> list[tuple[Seen, Seen]]:
    blocks, maps = (goal, _stages(student)) if goal else (own, _stages(teacher))
    pairs = [(blocks[i], seen) for i, seen in _nearest_maps(blocks, list(maps.values()))]
    return pairs if goal else [(seen, block) for block, seen in pairs]


def _nearest_maps(blocks: list[Seen], maps: list[Seen]) -> list[tuple[int, Seen]]:
    """Return maps with about as many pixels as there are tokens, each with the number of its block."""
    grid = grid_of(blocks[0].shape or ())
    if grid is None or not maps:
        return []
    away = [abs(log2((seen.grid or (1, 1))[0] / grid[0])) for seen in maps]
    limit = max(1.3, min(away))
    return [
        (max(0, round((i + 1) * len(blocks) / len(maps)) - 1), seen)
        for i, seen in enumerate(maps)
        if away[i] <= limit
    ]


# Maps


def _stages(survey: Survey) -> dict[int, Seen]:
    """Return the last map of each resolution, by the times that the image was halved; fine ones first."""
    if survey.image is None:
        return {}
    maps = [seen for seen in survey.seen if seen.grid is not None and min(seen.grid) > 1]
    inside = [seen for seen in maps if not _is_within_a_step(seen, maps) and not _is_a_row(seen, maps)]
    found: dict[int, Seen] = {}
    for group in (inside, maps):  # the second only where the first has no map of a resolution
        latest = {round(log2(survey.image[0] / (seen.grid or (1, 1))[0])): seen for seen in group}
        found = latest | found
    return dict(sorted(found.items()))


def _is_a_row(seen: Seen, maps: Sequence[Seen]) -> bool:
    """Whether it is a sequence that ends in another one, which then has the better name for its output."""
    if type(seen.module) is not nn.Sequential:
        return False
    last = f"{seen.path}.{len(seen.module) - 1}"
    return any(m.path == last and type(m.module) is nn.Sequential and m.shape == seen.shape for m in maps)


def _is_within_a_step(seen: Seen, maps: Sequence[Seen]) -> bool:
    """Whether it lies in a block that takes maps of its size and gives coarser ones, with nothing between."""
    around = [m for m in maps if seen.path.startswith(f"{m.path}.") and type(m.module) is not nn.Sequential]
    return any(_is_step(outer, maps) and outer.grid != seen.grid for outer in around)


def _is_step(outer: Seen, maps: Sequence[Seen]) -> bool:
    source = outer.source
    if source is None or len(source) != 4 or source[2:] == outer.grid:
        return False
    return {m.grid for m in maps if m.path.startswith(f"{outer.path}.")} <= {source[2:], outer.grid}


def _by_resolution(goal: dict[int, Seen], own: dict[int, Seen]) -> list[tuple[Seen, Seen]]:
    common = [halvings for halvings in goal if halvings in own]
    if common:
        return [(goal[halvings], own[halvings]) for halvings in common]
    short = min(len(goal), len(own))
    if not short:
        return []
    return list(zip(list(goal.values())[-short:], list(own.values())[-short:], strict=True))


# Attention


def _attention(
    which: str, named: Sequence[Pair] | None, teacher: Survey, student: Survey
) -> tuple[tuple[Attention, Attention], ...]:
    if named:
        matched = [paths for pair in named for paths in _matched(pair, teacher, student)]
        return tuple((attention_at(teacher.network, a), attention_at(student.network, b)) for a, b in matched)
    pairs = uniform(_layers(teacher), _layers(student))
    return tuple(pairs[-1:] if which == "last" else pairs)


def _layers(survey: Survey) -> list[Attention]:
    """Return the attention layers that ran, in that order."""
    order = {seen.path: i for i, seen in enumerate(survey.seen)}
    ran = [a for a in find_attention(survey.network) if all(tap.path in order for tap in a.taps)]
    if not ran:
        raise ModelError(
            f"The {survey.which}, {type(survey.network).__name__}, has no attention layer that is known. "
            f"{looked_for()}"
        )
    return sorted(ran, key=lambda a: order[a.taps[0].path])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
