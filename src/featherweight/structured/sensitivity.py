"""How much each group's width matters: the accuracy of the network with just that group cut.

The naive way: for each group and each fraction, a copy is cut as ``prune_structured`` cuts, verified like
there, and evaluated. Batch norm stays as it is, and nothing is trained, so these are lower bounds: what drops
here may come back with fine-tuning. Scans of this kind are as old as Li et al. 2017,
https://arxiv.org/abs/1608.08710.
"""

from __future__ import annotations

import copy
import io
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from torch import nn
from torch.nn import functional as F

from featherweight.artifact import replacing
from featherweight.core.prunable import unwrap
from featherweight.core.trace import Example, trace
from featherweight.errors import ArtifactError, DataError, ModelError, ResumeError, SettingError
from featherweight.profile import evaluate
from featherweight.structured.axes import Tracing, trace_axes
from featherweight.structured.choose import Choice, Loss, Selecting, rank, skipped_groups
from featherweight.structured.groups import Group, find_groups
from featherweight.structured.importance import Importance, UnitScores
from featherweight.structured.prune import perform
from featherweight.structured.selection import Floors, Ranking
from featherweight.structured.target import Reaching, Target
from featherweight.training.objective import Metric

KEEPS = (0.75, 0.5, 0.25, 0.1)


@dataclass(frozen=True)
class Point:
    """One group cut, all others whole.

    Attributes:
        keep: fraction of the group's units that was to stay.
        kept: units that stayed.
        score: accuracy (or the metric) of the network then.
    """

    keep: float
    kept: int
    score: float


@dataclass(frozen=True)
class GroupScores:
    """What the cuts of one group of ``units`` units do; ``points`` go from wide to narrow."""

    name: str
    units: int
    points: tuple[Point, ...]

    @property
    def worst(self) -> float:
        """The lowest score of any cut."""
        return min(point.score for point in self.points)


@dataclass(frozen=True)
class Sensitivity:
    """What ``scan`` found; ``print`` shows a table.

    Attributes:
        metric: what a score is; "accuracy" is in 0..1.
        whole: score of the network as it is.
        examples: that every score was measured on.
        criterion: by which the units that go were chosen.
        keeps: fractions of the units that were kept, falling.
        groups: in the order of the state dict.
        skipped: groups that were left alone on request.
    """

    metric: str
    whole: float
    examples: int
    criterion: str
    keeps: tuple[float, ...]
    groups: tuple[GroupScores, ...]
    skipped: tuple[str, ...] = ()

    def by_sensitivity(self) -> tuple[GroupScores, ...]:
        """Return the groups, those whose cuts cost most first."""
        return tuple(sorted(self.groups, key=lambda group: sum(point.score for point in group.points)))

    def table(self) -> Table:
        """Return the table that ``print`` shows."""
        right = [Column(f"{100 * keep:g}% kept", justify="right") for keep in self.keeps]
        table = Table("group", Column("units", justify="right"), *right)
        for group in self.groups:
            scores = [self.shown(point.score) for point in group.points]
            table.add_row(escape(group.name), f"{group.units:,}", *scores)
        table.caption = escape(
            f"{self.metric} on {self.examples:,} examples with one group cut by {self.criterion}; the whole "
            f"network: {self.shown(self.whole)}. Nothing was trained."
        )
        table.caption_justify = "left"
        return table

    def shown(self, score: float) -> str:
        """Return a score in words."""
        return f"{100 * score:.2f}%" if self.metric == "accuracy" else f"{score:.4g}"

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=118).print(self.table())
        return text.getvalue().rstrip()

    def to_json(self) -> str:
        """Return everything as a JSON object."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Sensitivity:
        """Return the record that ``to_json`` wrote.

        Raises:
            ArtifactError: it is anything else.
        """
        try:
            data = json.loads(text)
            groups = tuple(
                GroupScores(g["name"], g["units"], tuple(Point(**point) for point in g["points"]))
                for g in data["groups"]
            )
            data |= {name: tuple(data[name]) for name in ("keeps", "skipped")}
            return cls(**data | {"groups": groups})
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"Not the JSON of a sensitivity scan: {error!r}.") from error


def scan(
    model: nn.Module,
    example_inputs: Example,
    data: Iterable[Any],
    *,
    keeps: Sequence[float] = KEEPS,
    criterion: str | Importance = "l2",
    skip: Sequence[str] = (),
    metric: Metric | None = None,
    loss: Loss = F.cross_entropy,
    seed: int = 0,
    file: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Sensitivity:
    """Return the accuracy of ``model`` with each group cut alone, to each of several widths.

    Args:
        model: the trained network; it is not changed.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments.
        data: batches ``(inputs, targets)`` of the validation split, never of the test split: what is seen
            here is what one chooses by. Read once a cut.
        keeps: fractions of each group's units to keep, each in 0..1.
        criterion: how much a unit matters; gradients, for those that look at them, are taken on ``data``.
        skip: names or patterns of parameters and modules whose groups are left alone.
        metric: ``(outputs, targets) -> (sum, count)``, whose quotient is the score; None: accuracy.
        loss: ``(outputs, targets) -> scalar`` for criteria that look at gradients.
        seed: seed of everything random.
        file: the record is written here after each group; an interrupted scan with it goes on.
        progress: show a line for each group on stderr.

    Raises:
        SettingError: a setting is wrong.
        TraceError: torch.export cannot trace the model.
        ModelError: there is nothing to cut.
        SurgeryError: a cut network is not the same as the zeroed one.
        DataError: there is no batch.
        ResumeError: ``file`` holds the scan of another network, or one with other settings.
    """
    how = Selecting(criterion, "group", skip, Floors(), loss=loss, seed=seed)
    network = _Network.of(unwrap(model), example_inputs, _Batches.of(data), how, metric)
    begun = network.begun(falling(keeps))
    done = _noted(file, begun)
    known = len(done.groups)
    started = time.monotonic()
    for number, (group, scores) in enumerate(zip(network.groups, network.scores, strict=True), start=1):
        if number > known:
            points = tuple(network.point(group, scores, keep) for keep in begun.keeps)
            done = replace(done, groups=(*done.groups, GroupScores(group.name, len(group), points)))
            _note(file, done)
        if progress:
            each = (time.monotonic() - started) / (number - known) if number > known else 0.0
            _tell(number, len(network.groups), done, each)
    return done


def falling(keeps: Sequence[float]) -> tuple[float, ...]:
    """Return ``keeps`` from wide to narrow; raises SettingError unless they are different fractions."""
    wrong = [keep for keep in keeps if isinstance(keep, bool) or not 0 < keep < 1]
    if wrong or not keeps or len(set(keeps)) < len(keeps):
        raise SettingError(
            f"keeps are different fractions of a group's units, each between 0 and 1, got {tuple(keeps)!r}."
        )
    return tuple(sorted(map(float, keeps), reverse=True))


@dataclass(frozen=True)
class _Batches:
    """Data that can be read many times."""

    batches: Iterable[Any]
    examples: int

    @classmethod
    def of(cls, data: Iterable[Any]) -> _Batches:
        batches = tuple(data) if isinstance(data, Iterator) else data
        return cls(batches, sum(_size(batch) for batch in batches))


def _size(batch: Any) -> int:
    try:
        return len(batch["labels"] if isinstance(batch, dict) else batch[1])
    except (KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"A batch is (inputs, targets), or a mapping with 'labels'; got a {type(batch).__name__}."
        ) from error


@dataclass(frozen=True, eq=False)
class _Network:
    """The network as it is, and what may be cut of it."""

    model: nn.Module
    example: Example
    data: _Batches
    how: Selecting
    metric: Metric | None
    tracing: Tracing
    every: tuple[Group, ...]
    groups: list[Group] = field(default_factory=list[Group])
    scores: Sequence[UnitScores] = ()

    @classmethod
    def of(
        cls, model: nn.Module, example: Example, data: _Batches, how: Selecting, metric: Metric | None
    ) -> _Network:
        how = replace(how, data=data.batches)
        tracing = trace_axes(trace(model, example))
        every = find_groups(tracing)
        left_alone = skipped_groups(model, every, how.skip)
        groups = [group for group in every if group.name not in left_alone]
        if not groups:
            raise ModelError(
                "There is nothing to cut in this network, so there is nothing to scan. "
                "`featherweight inspect --groups` shows why."
            )
        scores = rank(model, tracing, groups, how).scores
        return cls(model, example, data, how, metric, tracing, every, groups, scores)

    def begun(self, keeps: tuple[float, ...]) -> Sensitivity:
        """Return the record without any group."""
        criterion = self.how.criterion
        return Sensitivity(
            metric="accuracy" if self.metric is None else _name(self.metric),
            whole=self.score(self.model),
            examples=self.data.examples,
            criterion=criterion if isinstance(criterion, str) else _name(criterion),
            keeps=keeps,
            groups=(),
            skipped=skipped_groups(self.model, self.every, self.how.skip),
        )

    def score(self, model: nn.Module) -> float:
        return evaluate(model, self.data.batches, metric=self.metric)

    def point(self, group: Group, scores: UnitScores, keep: float) -> Point:
        """Cut one group of a copy, and evaluate it."""
        ranking = Ranking(self.tracing, [group], [scores], "group")
        reaching = Reaching(Target("keep", keep), ranking, self.example, None)
        cut = ranking.cut(1 - keep)  # of a small group more may be left: it keeps a unit
        choice = Choice(cut, self.every, (), reaching, reaching.predicted(cut))
        small, _ = perform(copy.deepcopy(self.model), self.example, choice)
        return Point(keep, len(group) - len(cut.removed), self.score(small))


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _noted(file: str | os.PathLike[str] | None, begun: Sensitivity) -> Sensitivity:
    """Return what an earlier scan in ``file`` has; raises ResumeError if that is another scan."""
    if file is None or not Path(file).exists():
        return begun
    noted = Sensitivity.from_json(Path(file).read_text())
    if replace(noted, groups=()) != begun:
        raise ResumeError(
            f"{os.fspath(file)!r} holds the scan of another network, of other data or with other settings. "
            f"Name another file, or remove it."
        )
    return noted


def _note(file: str | os.PathLike[str] | None, done: Sensitivity) -> None:
    if file is not None:
        with replacing(file, "w") as stream:
            stream.write(done.to_json() + "\n")


def _tell(number: int, of: int, done: Sensitivity, seconds: float) -> None:
    """Print what group ``number`` came to, and how long the others take at ``seconds`` each."""
    group = done.groups[number - 1]
    scores = ", ".join(f"{done.shown(point.score)} at {point.keep:g}" for point in group.points)
    to_go = seconds * (of - number)
    left = f"  ({to_go:.0f} s to go)" if to_go else ""
    print(f"group {number}/{of}  {group.name}  {scores}{left}", file=sys.stderr, flush=True)
