"""The loss of a network with some weights of one layer at zero, the others as they are."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from featherweight.core.masks import zero_
from featherweight.errors import SettingError, TrainingError
from featherweight.sparsity.calibration import Calibration
from featherweight.training.objective import Metric


@dataclass(frozen=True)
class Measured:
    """What a network scores on data.

    Attributes:
        loss: mean over examples; over losses where a callable gave them.
        score: of the metric; None where there is none.
        examples: that it was measured on; losses where a callable gave them.
    """

    loss: float
    score: float | None
    examples: int


def measure(
    model: nn.Module, data: Calibration, metric: Metric | None = None, batches: int | None = None
) -> Measured:
    """Return the loss of ``model``, evaluating, and its score.

    Args:
        model: wrapped or not; it is not changed.
        data: batches, or a callable, which has a loss alone.
        metric: ``(outputs, targets) -> (sum, count)``, whose quotient is the score; None: no score.
        batches: how many at most; None: all.

    Raises:
        SettingError: there is no batch, or a metric and no outputs to take it of.
        ModelError: a loss is not finite.
        TrainingError: the metric cannot be taken of such outputs.
    """
    loss, examples, total, count = 0.0, 0, 0.0, 0.0
    if metric is not None and not data.has_batches:
        raise SettingError("metric= looks at outputs, and data= that is a function gives losses alone.")
    for found in data.passes(model, batches, grad=False):
        loss += float(found.loss) * found.examples
        examples += found.examples
        if metric is not None:
            part = metric(found.outputs, found.targets)
            total, count = total + float(part[0]), count + float(part[1])
    return Measured(loss / examples, total / count if count else None, examples)


def can_take(metric: Metric, model: nn.Module, data: Calibration) -> bool:
    """Whether ``metric`` can be taken of what ``model`` gives; tried on a batch."""
    try:
        return data.has_batches and measure(model, data, metric, batches=1).score is not None
    except TrainingError:
        return False


@contextmanager
def zeroed(weight: Tensor, keep: Tensor) -> Generator[None]:
    """Set ``weight`` to zero where it is not kept, and give its values back whatever happens."""
    saved = weight.detach().clone()
    try:
        zero_(weight, ~keep.to(weight.device))
        yield
    finally:
        with torch.no_grad():
            weight.copy_(saved)
