"""Wanda: ``score = |w| * ||x||``, with the L2 norm over the data of the input that the weight multiplies.

How much of the layer's output goes with the weight, when it alone goes (Sun, Liu, Bair, Kolter 2024,
https://arxiv.org/abs/2306.11695). No gradients are needed. The paper compares the weights of one output with
each other: ``pattern="per_output"`` with ``allocation="uniform"`` does so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from featherweight.core.prunable import PrunableWeight, find_prunable
from featherweight.core.rows import from_rows, rows_shape
from featherweight.errors import ModelError
from featherweight.sparsity.criteria._base import Context, Scores, criteria
from featherweight.sparsity.criteria._gradients import OverData
from featherweight.sparsity.layer_inputs import LayerInput, valid_positions, watched_inputs


@dataclass(frozen=True)
class Wanda(OverData):
    """Score a weight by its size times the norm of the input that it multiplies: ``|w| * ||x||``.

    With pattern="per_output" and allocation="uniform" the weights of an output compete with each other alone,
    as in the paper.
    """

    def __call__(self, weights: Mapping[str, Tensor], context: Context) -> Scores:
        """Return the scores.

        Raises:
            SettingError: there are no data.
            ModelError: what reaches a weight cannot be seen, or nothing does.
        """
        data = self.data_of(context, "wanda")
        found = [w for w in find_prunable(context.model).weights if w.name in weights]
        squares = {weight.name: _Squares(weight) for weight in found}
        with watched_inputs(found, lambda given: squares[given.name].add(given)) as watch:

            def leave_padding_out(batch: object) -> None:
                watch.valid = valid_positions(batch, context.model)

            data.run(context.model, self.batches, before=leave_padding_out)
        if unseen := watch.unseen():
            reasons = "; ".join(f"{name}: {reason}" for name, reason in list(unseen.items())[:5])
            raise ModelError(
                f"criterion='wanda' saw no input of {len(unseen)} weights ({reasons}). "
                f"Leave them alone with skip=."
            )
        return {name: weights[name].abs().float() * square.norms() for name, square in squares.items()}


@dataclass(frozen=True, eq=False)
class _Squares:
    """Sums of the squared inputs of a weight, by the outputs that they are multiplied for."""

    weight: PrunableWeight
    sums: dict[range, Tensor] = field(default_factory=dict[range, Tensor])

    def add(self, given: LayerInput) -> None:
        square = given.inputs.float().square().sum(1)
        self.sums[given.outputs] = self.sums.get(given.outputs, torch.zeros_like(square)) + square

    def norms(self) -> Tensor:
        """Return the norm that each weight is multiplied with, in the weight's shape."""
        weight, tensor = self.weight, self.weight.tensor
        shape = rows_shape(tensor.shape, weight.output_dim, weight.groups)
        total = torch.zeros(shape, device=tensor.device).flatten(1)
        for outputs, square in self.sums.items():  # (groups, columns)
            each = square.repeat_interleave(len(outputs) // len(square), 0)
            total[outputs.start : outputs.stop] += each
        return from_rows(total.view(shape).sqrt(), tensor.shape, weight.output_dim, weight.groups)


criteria.register("wanda")(Wanda())
