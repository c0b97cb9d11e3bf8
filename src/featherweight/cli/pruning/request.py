"""What ``featherweight prune --structured`` is asked for, checked before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featherweight.artifact.rounding import check_values
from featherweight.cli.pruning.options import TARGETS
from featherweight.cli.pruning.teaching import Teaching
from featherweight.cli.pruning.weights import Request
from featherweight.errors import SettingError
from featherweight.structured.choose import Selecting
from featherweight.structured.depth.settings import Depth
from featherweight.structured.progressive import BETWEEN, FINE_TUNING
from featherweight.structured.selection import Floors
from featherweight.structured.target import Target
from featherweight.training import TrainingSettings

STEPS = 3


@dataclass(frozen=True)
class ChannelsRequest:
    """What is asked for; see ``featherweight prune --help``.

    Attributes:
        target: what is to be left; None: a number of blocks goes, and nothing else.
        how: how what goes is chosen, without data.
        depth: which blocks go.
        tuning: epochs and learning_rate, where they were given.
        zeros: of what is left; None: no weight becomes zero.
        teaching: what the network learns from beside the labels; None: nothing.

    Raises:
        SettingError: a setting is wrong, or would do nothing.
    """

    model: str
    weights: Path | None
    data: str | None
    target: Target | None
    how: Selecting
    depth: Depth
    steps: int
    penalty: float | None
    tuning: dict[str, Any]
    zeros: Request | None
    input_shape: tuple[str, ...]
    out: Path
    values: str
    report: Path | None
    teaching: Teaching | None = None

    def __post_init__(self) -> None:
        check_values(self.values)
        if self.steps < 1:
            raise SettingError(f"--steps is the number of cuts, at least 1, got {self.steps}.")
        if self.penalty is not None and not self.penalty > 0:
            raise SettingError(f"--penalty is the strength of a penalty, above 0, got {self.penalty}.")
        _ = self.settings, self.between

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> ChannelsRequest:
        """Return the request of a command, by the names of its options; None: not given."""
        names = ("model", "weights", "data", "penalty", "out", "values", "report")
        floors = Floors(*(1 if asked[name] is None else asked[name] for name in ("min_keep", "round_to")))
        how = Selecting(
            asked["criterion"] or "l2",
            asked["scope"] or "global",
            tuple(asked["skip"] or ()),
            floors,
            seed=asked["seed"],
        )
        depth = _depth(asked)
        tuning = {name: asked[name] for name in ("epochs", "learning_rate") if asked[name] is not None}
        return cls(
            **{name: asked[name] for name in names},
            input_shape=tuple(asked["input_shape"] or ()),
            target=_target(asked, depth),
            how=how,
            depth=depth,
            steps=STEPS if asked["steps"] is None else asked["steps"],
            tuning=tuning,
            teaching=Teaching.of(asked),
            zeros=None if asked["sparsity"] is None else Request.of({**asked, "criterion": None}),
        )

    @property
    def settings(self) -> TrainingSettings:
        """How to fine-tune at the end."""
        return replace(FINE_TUNING, seed=self.how.seed, **self.tuning)

    @property
    def between(self) -> TrainingSettings:
        """How to fine-tune between the cuts: at the same rate, if one was given."""
        rate = {name: value for name, value in self.tuning.items() if name == "learning_rate"}
        return replace(BETWEEN, **rate)

    @property
    def criterion(self) -> str:
        """Name of the criterion."""
        return str(self.how.criterion)


def _target(asked: Mapping[str, Any], depth: Depth) -> Target | None:
    given = {name: asked[name] for name in TARGETS if asked[name] is not None}
    if not given and isinstance(depth.blocks, int) and depth.blocks:
        return None
    if len(given) != 1:
        options = [f"--{name} {value:g}" for name, value in given.items()]
        raise SettingError(
            f"--structured takes one of --keep, --params, --macs and --latency, the fraction that is left, "
            f"such as --macs 0.33; got {' and '.join(options) or 'none'}."
        )
    return Target.of(**given)


def _depth(asked: Mapping[str, Any]) -> Depth:
    text = asked["blocks"] or "0"
    depth = Depth(
        int(text) if text.isdecimal() else text, asked["block_criterion"], asked["block_unit"] or "block"
    )
    try:
        depth.importance(None if asked["data"] is None else ())
    except SettingError as error:
        raise SettingError(f"{error} Here data are --data module:factory.") from error
    return depth
