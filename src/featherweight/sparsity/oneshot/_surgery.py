"""The removal of one cell after another from many rows at once, and the record of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_COMPACT = 0.8  # removed cells are let go of when so many are left


@dataclass(frozen=True, eq=False)
class Trace:
    """What was removed from some units (outputs that lose the same cells), in order.

    Attributes:
        order: (units, cells), the cell removed at each step; those that must stay come last, at infinite
            cost.
        cost: (units, cells), of each step.
        forced: bool (units, cells), whether the pattern left no choice but one of a group that is too full.
    """

    order: Tensor
    cost: Tensor
    forced: Tensor

    def ranks(self) -> Tensor:
        """Return (units, cells), the place of each cell among all, float64; forced removals come first.

        Within a unit places follow the order of removal: of a removal that is cheaper than the one before it
        the place is behind that of the other (the cost is raised to the highest until then).
        """
        cost = self.cost.cummax(1).values.reshape(-1)
        by_cost = cost.argsort(stable=True)
        late = (~self.forced.reshape(-1))[by_cost].to(torch.uint8)
        places = torch.empty_like(by_cost)
        places[by_cost[late.argsort(stable=True)]] = torch.arange(len(by_cost), device=cost.device)
        ranks = torch.empty(self.cost.shape, dtype=torch.float64, device=cost.device)
        return ranks.scatter_(1, self.order, places.view(self.cost.shape).double())


def trace(weights: Tensor, inverses: Tensor, stay: Tensor, caps: tuple[Tensor, Tensor] | None) -> Trace:
    """Remove every cell that need not stay.

    Args:
        weights: (units, outputs, cells, inputs).
        inverses: (units, outputs, columns, columns) of the Hessian of each output; columns are cells *
            inputs. They are overwritten.
        stay: bool (units, cells).
        caps: the group of each cell, and how many each group loses before any loses more; None: no groups.
    """
    surgery = _Surgery(weights, inverses, stay, caps)
    steps = [surgery.step() for _ in range(stay.shape[1])]
    return Trace(*(torch.stack(part, 1) for part in zip(*steps, strict=True)))


class _Surgery:
    def __init__(
        self, weights: Tensor, inverses: Tensor, stay: Tensor, caps: tuple[Tensor, Tensor] | None
    ) -> None:
        units, self.outputs, cells, self.inputs = weights.shape
        self.weights, self.inverses = weights.flatten(2).flatten(0, 1), inverses.flatten(0, 1)
        self.cells = torch.arange(cells, device=stay.device).repeat(units, 1)  # what is still here
        self.stay, self.removed = stay, torch.zeros_like(stay)
        self.group, self.left = None, None
        if caps is not None:
            self.group, self.left = caps[0].repeat(units, 1), caps[1].repeat(units, 1)

    def step(self) -> tuple[Tensor, Tensor, Tensor]:
        """Remove a cell of every unit; return which ones, at what cost, and whether the pattern forced it."""
        cost = self._costs().masked_fill(self.stay, torch.inf)
        forced = torch.zeros(len(cost), dtype=torch.bool, device=cost.device)
        if self.group is not None and self.left is not None:
            open_ = (self.left.gather(1, self.group) > 0) & ~self.removed & ~self.stay
            forced = open_.any(1)
            cost = cost.masked_fill(forced[:, None] & ~open_, torch.inf)
        stays = torch.finfo(cost.dtype).max / 4  # these come last, and what is removed already beyond them
        least, pick = cost.clamp(max=stays).masked_fill(self.removed, 2 * stays).min(1)
        self._remove(pick, least < stays)
        if self.group is not None and self.left is not None:
            self.left.scatter_add_(1, self.group.gather(1, pick[:, None]), -torch.ones_like(pick)[:, None])
        found = self.cells.gather(1, pick[:, None]).squeeze(1)
        self.removed = self.removed.scatter(1, pick[:, None], value=True)
        self._compact()
        return found, least, forced

    def _costs(self) -> Tensor:
        """Return (units, cells), summed over outputs."""
        if self.inputs == 1:
            costs = self.weights.square() / self.inverses.diagonal(dim1=1, dim2=2)
        else:
            cells = self.weights.unflatten(1, (-1, self.inputs))
            corners = self.inverses.unflatten(2, (-1, self.inputs)).unflatten(1, (-1, self.inputs))
            corners = corners.diagonal(dim1=1, dim2=3).movedim(-1, 1)
            costs = (cells * torch.linalg.solve(corners, cells)).sum(-1)
        return costs.unflatten(0, (-1, self.outputs)).sum(1)

    def _remove(self, pick: Tensor, active: Tensor) -> None:
        """Compensate for the cells that were picked, in the units that are active."""
        rows = torch.arange(len(self.weights), device=pick.device)[:, None]
        first = pick.repeat_interleave(self.outputs) * self.inputs
        columns = first[:, None] + torch.arange(self.inputs, device=pick.device)
        across = self.inverses[rows, columns]  # rows of the inverse: (rows, inputs, columns)
        corner = across.gather(2, columns[:, None].expand(-1, self.inputs, -1))
        solved = torch.linalg.solve(corner, across) if self.inputs > 1 else across / corner
        active = active.repeat_interleave(self.outputs)
        solved = solved * active[:, None, None]
        self.weights -= (self.weights.gather(1, columns)[:, None] @ solved)[:, 0]
        self.inverses.baddbmm_(across.mT, solved, alpha=-1)
        which = active.nonzero()
        self.weights[which, columns[active]] = 0
        self.inverses[which, columns[active]] = 0
        self.inverses[which, :, columns[active]] = 0
        self.inverses[which, columns[active], columns[active]] = 1

    def _compact(self) -> None:
        """Let go of removed cells now and then: what is left of the work falls with their square."""
        gone = self.removed.sum(1)
        count, here = int(gone[0]), self.removed.shape[1]
        if here - count > _COMPACT * here or count == here or bool((gone != count).any()):
            return
        left = (~self.removed).nonzero()[:, 1].view(len(gone), -1)
        self.cells, self.stay = self.cells.gather(1, left), self.stay.gather(1, left)
        self.group = None if self.group is None else self.group.gather(1, left)
        self.removed = torch.zeros_like(self.stay)
        columns = (left[..., None] * self.inputs + torch.arange(self.inputs, device=left.device)).flatten(1)
        columns = columns.repeat_interleave(self.outputs, 0)
        self.weights = self.weights.gather(1, columns)
        rows = torch.arange(len(columns), device=left.device)[:, None, None]
        self.inverses = self.inverses[rows, columns[:, :, None], columns[:, None]]
