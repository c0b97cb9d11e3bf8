"""GraSP: ``score = w * (H g)``, with the gradient ``g`` and the Hessian ``H`` of the mean loss.

Without a weight, the squared norm of the gradient changes by ``-2 w (H g)`` to first order; kept are the
weights whose removal would cost most of it (Wang, Zhang, Grosse 2020, https://arxiv.org/abs/2002.07376, whose
scores ``S(-w) = -w * (H g)`` are those of removal: there the highest go). For networks that are not trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from featherweight.core.batches import entry, find_logits, loss_of
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.criteria._base import Context, Scores, criteria
from featherweight.sparsity.criteria._batch_norm import AtInitialisation, batch_statistics
from featherweight.sparsity.criteria._gradients import Leaves

TEMPERATURE = 200.0  # of the paper, appendix


@dataclass(frozen=True)
class Grasp(AtInitialisation):
    """Score a weight by what its removal takes of the squared norm of the gradient: ``w * (H g)``.

    The network evaluates, but for batch norm that has noted nothing yet: it takes the statistics of the batch
    (``batch_statistics``), as in the paper, which scores at initialisation and in training mode.

    Attributes:
        temperature: logits are divided by it, before cross-entropy. None: by 200 where the logits are there;
            a loss of your own, or one that the model computes, is taken as it is.
    """

    temperature: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature is not None and not self.temperature > 0:
            raise SettingError(f"temperature is above 0, got {self.temperature!r}.")

    def __call__(self, weights: Mapping[str, Tensor], context: Context) -> Scores:
        """Return the scores.

        Raises:
            SettingError: there are no data; or a temperature was given and the loss hides its logits.
            ModelError: an operation has no second derivative.
        """
        data = self._tempered(self.data_of(context, "grasp").held(self.batches))
        leaves = Leaves.of(weights, context.model)
        math = sdpa_kernel(SDPBackend.MATH)  # the others have no second derivative
        with math, batch_statistics(context.model, self.batch_statistics):
            gradient = leaves.mean_gradients(data.losses(context.model, self.batches))
            losses = data.losses(context.model, self.batches)
            products = leaves.mean(losses, partial(_hessian_times, leaves, gradient))
        return {name: weights[name].float() * product for name, product in products.items()}

    def _tempered(self, data: Calibration) -> Calibration:
        if data.has_batches and data.loss is F.cross_entropy:
            return replace(data, loss=self._loss)
        self._check_is_idle()
        return data

    def _loss(self, outputs: Any, targets: Any) -> Tensor:
        own = None if isinstance(outputs, Tensor) else entry(outputs, "loss")
        logits = find_logits(outputs)
        if own is not None or logits is None or (logits is not outputs and logits.ndim != 2):
            self._check_is_idle()
            return loss_of(outputs, targets, F.cross_entropy)
        return loss_of(logits / (self.temperature or TEMPERATURE), targets, F.cross_entropy)

    def _check_is_idle(self) -> None:
        if self.temperature not in (None, 1.0):
            raise SettingError(
                f"temperature={self.temperature!r} divides the logits, but this loss hides them: leave it "
                f"out, or pass batches and have cross-entropy computed here."
            )


def _hessian_times(leaves: Leaves, vector: Mapping[str, Tensor], loss: Tensor) -> dict[str, Tensor]:
    """Return the Hessian of ``loss`` times ``vector``."""
    try:
        with torch.enable_grad():
            gradient = leaves.gradients(loss, graph=True)
            product = sum((vector[name] * each).sum().to(loss.device) for name, each in gradient.items())
        assert isinstance(product, Tensor)
        return leaves.gradients(product) if product.requires_grad else leaves.zeros()
    except RuntimeError as error:
        first = str(error).split("\n", maxsplit=1)[0]
        raise ModelError(f"criterion='grasp' takes second derivatives, which failed: {first}") from error


criteria.register("grasp")(Grasp())
