"""Exact optimal brain surgery: weights are removed one after another, each where it costs least.

In a row, removing the weights of a cell c (one weight, or the inputs of a block) costs
``w_c^T ([H^-1]_cc)^-1 w_c``, the rest becomes ``w - H^-1_:c ([H^-1]_cc)^-1 w_c``, and the inverse loses the
cell, ``H^-1 - H^-1_:c ([H^-1]_cc)^-1 H^-1_c:`` (Hassibi, Stork 1992; Frantar, Alistarh 2022, algorithm 1,
https://arxiv.org/abs/2208.11580). Every row is traced to its end; then the cheapest removals of the whole
layer are taken, in each row those that came first (algorithm 2), and the rest is solved for exactly. Outputs
that share a block lose the same cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from featherweight.errors import SettingError
from featherweight.sparsity.oneshot._cells import Cells, cells_of
from featherweight.sparsity.oneshot._problem import LayerProblem, Solution, methods
from featherweight.sparsity.oneshot._surgery import Trace, trace
from featherweight.sparsity.oneshot.refit import refit
from featherweight.sparsity.patterns import RowPattern

_BYTES = 2**27  # of the inverses that are worked on together


@dataclass(frozen=True)
class OBS:
    """Remove weights one after another, each where it costs least, and compensate exactly.

    Its time grows with the cube of a layer's columns, for every output.

    Attributes:
        columns: layers with more of them are left to another method.
        beyond: which one.
    """

    columns: int = 600
    beyond: str = "sparsegpt"

    def __post_init__(self) -> None:
        if self.columns < 1:
            raise SettingError(f"columns is the most that a layer may have, at least 1; got {self.columns}.")
        if self.beyond != "sparsegpt":
            _ = methods[self.beyond]

    def check(self, pattern: RowPattern) -> None:
        """Raise SettingError if weights cannot be removed one after another in this pattern."""
        cells_of(pattern)

    def __call__(self, problem: LayerProblem) -> Solution:
        """Remove the cheapest weights, and solve for what is left."""
        if problem.columns > self.columns:
            note = f"{self.beyond}: {problem.columns:,} columns are more than {self.columns}"
            return replace(methods[self.beyond](problem), note=note)
        keep = problem.keep(_ranks(problem, cells_of(problem.pattern)))
        return refit(problem, keep.reshape(problem.weights.shape))


methods.register("obs")(OBS())


def _ranks(problem: LayerProblem, cells: Cells) -> Tensor:
    """Return when each weight is removed: numbers, in the shape of ``problem.grouped``, lowest first."""
    rows = cells.padded(problem.weights)
    outputs, positions, inputs = rows.shape
    fixed = torch.zeros_like(problem.weights) if problem.fixed is None else problem.fixed
    fixed = cells.padded(fixed.to(rows.dtype)).flatten(1)
    inverses = _Inverses(problem, rows)
    units = torch.arange(outputs, device=rows.device).view(-1, cells.outputs)
    size = max(1, _BYTES // (rows[0].numel() ** 2 * rows.itemsize * cells.outputs))
    caps = cells.caps(positions, inputs, rows.device)
    traces = [
        trace(
            rows.flatten(1)[unit].unflatten(-1, (-1, cells.inputs)),
            inverses.of(unit, fixed[unit] == -torch.inf),
            (fixed[unit] == torch.inf).unflatten(-1, (-1, cells.inputs)).any(-1).any(1),
            caps if cells.m else None,
        )
        for unit in units.split(size)
    ]
    whole = Trace(*(torch.cat([getattr(part, name) for part in traces]) for name in Trace.__annotations__))
    ranks = whole.ranks()[:, None, :, None].expand(-1, cells.outputs, -1, cells.inputs)
    real = problem.weights.shape
    return ranks.reshape(rows.shape)[: real[0], :, : real[2]].reshape(problem.grouped.shape)


class _Inverses:
    """Inverses of the Hessian of each row, filled up to whole cells, without the weights that are dead."""

    def __init__(self, problem: LayerProblem, rows: Tensor) -> None:
        _, positions, inputs = rows.shape
        real = torch.arange(inputs, device=rows.device) < problem.weights.shape[2]
        places = real.repeat(positions).nonzero().squeeze(1)
        eye = torch.eye(positions * inputs, dtype=rows.dtype, device=rows.device)
        self._hessians = eye.repeat(problem.groups, 1, 1)
        self._hessians[:, places[:, None], places] = problem.damped
        self._inverses = eye.repeat(problem.groups, 1, 1)
        self._inverses[:, places[:, None], places] = problem.inverse
        self._outputs = len(problem.weights)

    def of(self, rows: Tensor, dead: Tensor) -> Tensor:
        """Return (*rows, columns, columns) for the numbers of rows, of which some columns are dead."""
        of_group = self._outputs // len(self._hessians)
        group = rows.clamp(max=self._outputs - 1) // of_group
        if not bool(dead.any()):
            return self._inverses[group]
        alive = ~dead
        hessians = self._hessians[group] * (alive[..., None] & alive[..., None, :])
        hessians.diagonal(dim1=-2, dim2=-1).add_(dead.to(hessians.dtype))
        return torch.cholesky_inverse(torch.linalg.cholesky(hessians))
