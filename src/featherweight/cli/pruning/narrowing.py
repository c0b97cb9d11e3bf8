"""Cut a network as it was asked for on the command line: at once, or in steps with fine-tuning after each."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from featherweight.cli.batches import Batches
from featherweight.cli.pruning.outcome import explained
from featherweight.cli.pruning.request import ChannelsRequest
from featherweight.core.trace import Example
from featherweight.profile import evaluate
from featherweight.structured.progressive import Step, progressive_prune_structured
from featherweight.structured.prune import prune_structured
from featherweight.structured.target import Reached


@dataclass(frozen=True)
class Narrowed:
    """A network with channels removed.

    Attributes:
        model: what is left, in evaluation mode.
        target: what was to be reached.
        asked: fraction that was to be left at most.
        predicted: that the (last) selection was to leave; None where an earlier version noted it.
        achieved: that is left.
        steps: with data: each cut.
        validation_before: with data: accuracy on the split of the steps' accuracies.
    """

    model: nn.Module
    target: str
    asked: float
    predicted: float | None
    achieved: float
    steps: tuple[Step, ...] = ()
    validation_before: float | None = None

    @classmethod
    def once(cls, model: nn.Module, reached: Reached) -> Narrowed:
        """Return what one cut without data came to."""
        return cls(model.eval(), reached.target, reached.asked, reached.predicted, reached.achieved)


def narrow(
    model: nn.Module, request: ChannelsRequest, example: Example, batches: Batches | None, run_dir: Path
) -> Narrowed:
    """Return a cut copy of ``model``: at once without data, else in steps with fine-tuning after each."""
    how, target = request.how, request.target
    asked: dict[str, Any] = {
        "criterion": how.criterion, "scope": how.scope, "skip": how.skip, "min_keep": how.floors.min_keep,
        "round_to": how.floors.round_to, "blocks": request.depth.blocks,
        "block_criterion": request.depth.criterion, "block_unit": request.depth.unit,
    }  # fmt: skip
    if target is not None:
        asked[target.name] = target.fraction
    if batches is None:
        small, surgery = prune_structured(copy.deepcopy(model), example, seed=how.seed, **asked)
        return Narrowed.once(small, surgery.reached)
    if request.teaching is not None:
        asked |= request.teaching.arguments(model, how.seed)
    with explained(run_dir.parent):
        small, steps = progressive_prune_structured(
            model,
            example,
            steps=request.steps,
            train=batches.train,
            validate=batches.validate,
            between=request.between,
            settings=request.settings,
            penalty=request.penalty,
            run_dir=run_dir,
            **asked,
        )
    before = evaluate(model, batches.validate)
    last = steps[-1]
    name, asked_for = ("blocks", last.left) if target is None else (target.name, target.fraction)
    return Narrowed(small.eval(), name, asked_for, last.predicted, last.left, steps, validation_before=before)
