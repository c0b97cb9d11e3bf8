"""The removal of one cell after another from many rows at once, and the record of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_COMPACT = 0.6  # removed cells are let go of when so many are left: what is left is copied
_LATE = 32  # cells that inverses are updated for together: for one at a time, all of them would be rewritten


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
    """The rows and what is left of their inverses, which are updated for many removals together.

    Cells that were removed since then had rows ``across`` A of the inverse, (rows, removed, columns), divided
    by their corners ``solved`` S: the inverse now is ``inverse - A^T S``. Rows of it, and the ``corners`` of
    its diagonal, (rows, cells, inputs, inputs), are kept up to date.
    """

    def __init__(
        self, weights: Tensor, inverses: Tensor, stay: Tensor, caps: tuple[Tensor, Tensor] | None
    ) -> None:
        units, self.outputs, cells, self.inputs = weights.shape
        self.weights, self.inverses = weights.flatten(2).flatten(0, 1), inverses.flatten(0, 1)
        self.cells = torch.arange(cells, device=stay.device).repeat(units, 1)  # what is still here
        self.stay, self.removed = stay, torch.zeros_like(stay)
        self.none = torch.eye(self.inputs, dtype=weights.dtype, device=weights.device)  # a removed corner
        self.group, self.left = None, None
        if caps is not None:
            self.group, self.left = caps[0].repeat(units, 1), caps[1].repeat(units, 1)
        self._begin()

    def _begin(self) -> None:
        """Begin to note removals, of inverses that are up to date."""
        rows, columns = self.weights.shape
        self.noted = 0
        self.across = self.inverses.new_empty(rows, min(_LATE * self.inputs, columns), columns)
        self.solved = torch.empty_like(self.across)
        blocks = self.inverses.unflatten(2, (-1, self.inputs)).unflatten(1, (-1, self.inputs))
        corners, gone = blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1), self._gone()[..., None, None]
        self.corners = torch.where(gone, self.none, corners)

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
        if self.noted == self.across.shape[1]:
            self._catch_up()
        return found, least, forced

    def _costs(self) -> Tensor:
        """Return (units, cells), summed over outputs."""
        if self.inputs == 1:
            costs = self.weights.square() / self.corners[..., 0, 0]
        else:
            cells = self.weights.unflatten(1, (-1, self.inputs))
            costs = (cells * torch.linalg.solve(self.corners, cells)).sum(-1)
        return costs.unflatten(0, (-1, self.outputs)).sum(1)

    def _remove(self, pick: Tensor, active: Tensor) -> None:
        """Compensate for the cells that were picked, in the units that are active."""
        first = pick.repeat_interleave(self.outputs) * self.inputs
        columns = first[:, None] + torch.arange(self.inputs, device=pick.device)
        across = self._inverses_at(columns)
        corner = across.gather(2, columns[:, None].expand(-1, self.inputs, -1))
        solved = torch.linalg.solve(corner, across) if self.inputs > 1 else across / corner
        active = active.repeat_interleave(self.outputs)[:, None]
        solved *= active[..., None]
        self.weights -= (self.weights.gather(1, columns)[:, None] @ solved)[:, 0]
        self.weights.scatter_(1, columns, self.weights.gather(1, columns).masked_fill(active, 0))
        self._note(across, solved)
        self.removed.scatter_(1, pick[:, None], value=True)
        self.corners[torch.arange(len(first), device=pick.device), first // self.inputs] = self.none

    def _inverses_at(self, columns: Tensor) -> Tensor:
        """Return these rows of the inverses as they are now, (rows, inputs, columns)."""
        rows = torch.arange(len(columns), device=columns.device)[:, None]
        found = self.inverses[rows, columns]
        if self.noted:
            before = self.across[:, : self.noted].gather(2, columns[:, None].expand(-1, self.noted, -1))
            found.baddbmm_(before.mT, self.solved[:, : self.noted], alpha=-1)
        return found.masked_fill_(self._gone().repeat_interleave(self.inputs, 1)[:, None], 0)

    def _gone(self) -> Tensor:
        """Return which cells of each row are removed, (rows, cells)."""
        return self.removed.repeat_interleave(self.outputs, 0)

    def _note(self, across: Tensor, solved: Tensor) -> None:
        """Keep what the inverses are to be updated with, and update their corners."""
        after = self.noted + self.inputs
        self.across[:, self.noted : after], self.solved[:, self.noted : after] = across, solved
        self.noted = after
        cells = (part.unflatten(2, (-1, self.inputs)).unbind(1) for part in (across, solved))
        for left, right in zip(*cells, strict=True):
            self.corners.addcmul_(left[..., None], right[..., None, :], value=-1)

    def _catch_up(self) -> None:
        """Update the inverses."""
        here = self.removed.shape[1]
        left = here - int(torch.count_nonzero(self.removed[0]))  # as many of every unit
        if 0 < left <= _COMPACT * here:
            self._let_go()
        self.inverses.baddbmm_(self.across.mT, self.solved, alpha=-1)
        self._begin()

    def _let_go(self) -> None:
        """Leave out what was removed: the rest of the work falls with its square."""
        left = (~self.removed).nonzero()[:, 1].view(len(self.removed), -1)
        self.cells, self.stay = self.cells.gather(1, left), self.stay.gather(1, left)
        self.group = None if self.group is None else self.group.gather(1, left)
        self.removed = torch.zeros_like(self.stay)
        columns = (left[..., None] * self.inputs + torch.arange(self.inputs, device=left.device)).flatten(1)
        columns = columns.repeat_interleave(self.outputs, 0)
        self.weights = self.weights.gather(1, columns)
        rows = torch.arange(len(columns), device=left.device)[:, None, None]
        self.inverses = self.inverses[rows, columns[:, :, None], columns[:, None]]
        every = columns[:, None].expand(-1, self.noted, -1)
        self.across, self.solved = self.across.gather(2, every), self.solved.gather(2, every)
