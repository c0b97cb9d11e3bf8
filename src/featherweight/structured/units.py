"""Units: the smallest things that can be cut away, and which unit each index of a dimension belongs to.

An axis is one dimension of one tensor, of size n, written as an integer array of shape (n, k): row i holds
the units that index i belongs to (-1: none), and **index i is cut away when any unit of its row is**. An
index without a unit is never cut. That one statement carries every structure that networks are made of:

- concatenation, slicing and permutation of a dimension do the same to its rows;
- a product of dimensions, such as heads x head_dim, has rows with a unit of each;
- two dimensions that must stay equal have their units united, index by index.

Splitting a product that was not known to be one (a linear layer's 768 outputs viewed as 12 x 64) puts two
new units in the place of each old one: ``u[p, q] := head[p] or channel[q]``. A united, substituted or frozen
unit is so wherever it stands: axes are read through ``Units.resolve``.

Whenever something does not fit, units are united or frozen: that forbids cuts, and never allows a wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Axis = NDArray[np.int64]
Ints = NDArray[np.int64]
NONE = -1


@dataclass(frozen=True)
class Why:
    """Why a unit cannot be cut.

    Attributes:
        what: in a few words, such as "outputs of the network" or "aten.cumsum has no rule".
        op: the operation, such as "aten.softmax.int"; empty where no operation is to blame.
        module: path of the module that it is in.
    """

    what: str
    op: str = ""
    module: str = ""

    def __str__(self) -> str:
        place = f" in {self.module}" if self.module else ""
        return f"{self.what} ({self.op}{place})" if self.op else f"{self.what}{place}"


def fixed(size: int) -> Axis:
    """Return an axis of ``size`` indices that are never cut."""
    return np.empty((size, 0), np.int64)


class Units:
    """All units of one network: which are the same, which are made of others, and which are frozen."""

    def __init__(self) -> None:
        self._number = 0  # the arrays have room for more
        self._parent = np.empty(0, np.int64)
        self._parts = np.empty((0, 2), np.int64)  # what a unit was substituted by
        self._frozen = np.empty(0, bool)
        self._why: dict[int, Why] = {}

    def __len__(self) -> int:
        return self._number

    # Making axes

    def fresh(self, size: int) -> Axis:
        """Return an axis of ``size`` new units."""
        first, self._number = self._number, self._number + size
        if self._number > len(self._parent):
            more = max(size, len(self._parent))
            self._parent = np.concatenate([self._parent, np.zeros(more, np.int64)])
            self._parts = np.concatenate([self._parts, np.full((more, 2), NONE)])
            self._frozen = np.concatenate([self._frozen, np.zeros(more, bool)])
        new = np.arange(first, self._number)
        self._parent[new] = new
        return new[:, None]

    def resolve(self, axis: Axis) -> Axis:
        """Return ``axis`` in units that stand for themselves: each once in a row, frozen ones left out."""
        while axis.size:
            axis = self._find(axis)
            parted = (axis != NONE) & (self._parts[axis, 0] != NONE)
            if not parted.any():
                break
            first = np.where(parted, self._parts[axis, 0], axis)
            second = np.where(parted, self._parts[axis, 1], NONE)
            axis = np.stack([first, second], axis=2).reshape(len(axis), -1)
            axis = axis[:, (axis != NONE).any(axis=0)]
        if axis.size:
            axis = _once_a_row(np.where((axis != NONE) & self._frozen[axis], NONE, axis))
        return axis

    def merge(self, axes: Sequence[Axis]) -> Axis:
        """Return the axis that flattening these neighbouring dimensions makes, the last one fastest."""
        merged = fixed(1)
        for axis in axes:
            outer, inner = len(merged), len(axis)
            merged = np.concatenate([np.repeat(merged, inner, axis=0), np.tile(axis, (outer, 1))], axis=1)
        return merged

    def split(self, axis: Axis, sizes: Sequence[int]) -> list[Axis]:
        """Return the axes that viewing a dimension as dimensions of ``sizes`` makes; the last one fastest."""
        axes: list[Axis] = []
        for size in sizes[:-1]:
            outer, axis = self._split_in_two(axis, size)
            axes.append(outer)
        return [*axes, axis] if sizes else []

    # Stating facts

    def unite(self, a: Axis, b: Axis, why: Why) -> None:
        """State that ``a`` and ``b`` are cut at the same indices.

        Args:
            a: an axis.
            b: an axis of the same size.
            why: what to say where one of them can never be cut.
        """
        if len(a) != len(b):
            raise ValueError(f"axes of {len(a)} and {len(b)} indices cannot be cut alike")
        if a is b:
            return
        a, b = self.resolve(a), self.resolve(b)
        counts_a, counts_b = (a != NONE).sum(axis=1), (b != NONE).sum(axis=1)
        for kind in np.unique(counts_a * (b.shape[1] + 1) + counts_b).tolist():
            in_a, in_b = divmod(kind, b.shape[1] + 1)
            rows = (counts_a == in_a) & (counts_b == in_b)
            self._unite_rows(_packed(a[rows], in_a), _packed(b[rows], in_b), why)

    def freeze(self, axis: Axis, why: Why) -> None:
        """State that no index of ``axis`` is ever cut."""
        for unit in np.unique(self.resolve(axis)):
            if unit != NONE:
                self._frozen[unit] = True
                self._why.setdefault(int(unit), why)

    def why_frozen(self, axis: Axis) -> list[Why]:
        """Return the reasons, each once, why indices of ``axis`` are frozen."""
        leaves = self._leaves(axis[axis != NONE])
        return list(dict.fromkeys(self._why[unit] for unit in leaves[self._frozen[leaves]].tolist()))

    # How

    def _find(self, units: Axis) -> Axis:
        known = units != NONE
        roots = np.where(known, self._parent[units], NONE)
        while True:
            above = np.where(known, self._parent[roots], NONE)
            if (above == roots).all():
                break
            roots = above
        self._parent[units[known]] = roots[known]
        return roots

    def _leaves(self, units: Ints) -> Ints:
        """Return the units that stand for themselves of which these are made, in order."""
        found: list[Ints] = [np.empty(0, np.int64)]
        while units.size:
            roots = self._find(np.unique(units))
            parted = self._parts[roots, 0] != NONE
            found.append(roots[~parted])
            parts = self._parts[roots[parted]]
            units = parts[parts != NONE]
        return np.unique(np.concatenate(found))

    def _join(self, a: Axis, b: Axis) -> None:
        """Make the units of ``a`` and ``b``, index by index, one unit."""
        a, b = a.reshape(-1), b.reshape(-1)
        while True:
            root_a, root_b = self._find(a), self._find(b)
            differ = root_a != root_b
            if not differ.any():
                break
            low, high = np.minimum(root_a, root_b)[differ], np.maximum(root_a, root_b)[differ]
            # Of several unions of one unit the last one written holds; the others come in the next round.
            frozen = self._frozen[high]
            self._parent[high] = low
            self._frozen[low[frozen]] = True
            for old, new in zip(high[frozen].tolist(), low[frozen].tolist(), strict=True):
                self._why.setdefault(new, self._why[old])

    def _unite_rows(self, a: Axis, b: Axis, why: Why) -> None:
        """Unite rows that all have as many units as the first one has; no row of either has gaps."""
        if not a.shape[1] or not b.shape[1]:
            self.freeze(a, why)
            self.freeze(b, why)
        elif a.shape[1] == b.shape[1] == 1:
            self._join(a, b)
        else:
            self._unite_products(a, b, why)

    def _unite_products(self, a: Axis, b: Axis, why: Why) -> None:
        """Match the factors of two products by how they divide the rows, then unite factor by factor."""
        left, right = list(range(a.shape[1])), list(range(b.shape[1]))
        pairs: list[tuple[int, int]] = []
        for i in list(left):
            alike = [j for j in right if _same_partition(a[:, i], b[:, j])]
            if alike:
                best = max(alike, key=lambda j: int((a[:, i] == b[:, j]).sum()))
                pairs.append((i, best))
                left.remove(i)
                right.remove(best)
        for i, j in pairs:
            self._join(a[:, i], b[:, j])
        if not left and not right:
            return
        rest_a, rest_b = a[:, left], b[:, right]
        if len(left) == 1 and len(right) == 1:
            self._join(rest_a, rest_b)
        elif len(left) == 1 and right:
            self._substitute(rest_a[:, 0], rest_b, why)
        elif len(right) == 1 and left:
            self._substitute(rest_b[:, 0], rest_a, why)
        else:
            self.freeze(rest_a, why)
            self.freeze(rest_b, why)

    def _substitute(self, units: Axis, by: Axis, why: Why) -> None:
        """Put ``by[i, 0] or by[i, 1] or ...`` in the place of ``units[i]``."""
        distinct, first, which = np.unique(self._find(units), return_index=True, return_inverse=True)
        for column in by.T:  # a unit in several rows stands for the same in all of them
            self._join(column, column[first][which])
        parts = self._find(by[first])
        circular = np.isin(parts, distinct).any(axis=1)
        self.freeze(distinct[circular][:, None], why)
        while parts.shape[1] > 2:
            parts = np.column_stack([parts[:, :-2], self._pairs(parts[:, -2], parts[:, -1])])
        self._put(distinct, parts, why)

    def _pairs(self, a: Axis, b: Axis) -> Axis:
        """Return units that stand for ``a[i] or b[i]``, one for each distinct pair."""
        distinct, which = np.unique(np.stack([a, b], axis=1), axis=0, return_inverse=True)
        new = self.fresh(len(distinct))[:, 0]
        self._parts[new] = distinct
        return new[which.reshape(-1)]

    def _put(self, units: Axis, parts: Axis, why: Why) -> None:
        """Substitute ``units``, of which none is substituted yet; what a frozen one is made of is frozen."""
        roots = self._find(units)
        frozen = self._frozen[roots]
        self._parts[roots[~frozen]] = parts[~frozen]
        self.freeze(parts[frozen], why)

    def _split_in_two(self, axis: Axis, size: int) -> tuple[Axis, Axis]:
        """Return axes of ``size`` and of the rest, so that ``axis[p * rest + q] == outer[p] or inner[q]``."""
        axis = self.resolve(axis)
        rest = len(axis) // size if size else 0
        if size * rest != len(axis):
            raise ValueError(f"{len(axis)} indices cannot be viewed as {size} x ...")
        if size == 1:
            return fixed(1), axis
        if rest == 1:
            return axis, fixed(1)
        table = axis.reshape(size, rest, -1)
        outer, inner = [fixed(size)], [fixed(rest)]
        for column in np.moveaxis(table, 2, 0):
            if (column == column[:, :1]).all():
                outer.append(column[:, :1])
            elif (column == column[:1]).all():
                inner.append(column[0][:, None])
            else:
                rows, columns = self._factor(column)
                outer.append(rows)
                inner.append(columns)
        return np.concatenate(outer, axis=1), np.concatenate(inner, axis=1)

    def _factor(self, table: Axis) -> tuple[Axis, Axis]:
        """Make each unit of a table a product of a unit of its row and a unit of its column, if it can be."""
        if (table == NONE).any() or (table == table[:, :1]).all(axis=1).any():
            return self._rows_alike(table), fixed(table.shape[1])
        rows, columns = self.fresh(len(table)), self.fresh(table.shape[1])
        by = np.stack(np.broadcast_arrays(rows, columns[:, 0][None]), axis=2).reshape(-1, 2)
        self._substitute(table.reshape(-1), by, Why("a view that does not divide it"))
        return rows, columns

    def _rows_alike(self, table: Axis) -> Axis:
        """Unite the units of each row; a row with an index that is never cut is never cut."""
        gaps = (table == NONE).any(axis=1)
        self.freeze(table[gaps].reshape(-1, 1), Why("a view of it together with indices that are never cut"))
        whole = table[~gaps]
        self._join(whole, np.broadcast_to(whole[:, :1], whole.shape))
        return np.where(gaps, NONE, table[:, 0])[:, None]


def _once_a_row(axis: Axis) -> Axis:
    """Return ``axis`` with repeats in a row turned into NONE, without columns of NONE alone."""
    for column in range(1, axis.shape[1]):
        repeated = (axis[:, :column] == axis[:, column : column + 1]).any(axis=1)
        axis[repeated, column] = NONE
    return axis[:, (axis != NONE).any(axis=0)]


def _packed(axis: Axis, count: int) -> Axis:
    """Return rows of ``count`` units each without the gaps between them, in their order."""
    order = np.argsort(axis == NONE, axis=1, kind="stable")
    return np.take_along_axis(axis, order, axis=1)[:, :count]


def _same_partition(a: Axis, b: Axis) -> bool:
    """Whether two columns divide the rows in the same way."""
    pairs = np.unique(a * (b.max(initial=0) + 1) + b)
    return len(pairs) == len(np.unique(a)) == len(np.unique(b))
