"""The problem of one layer: fewer weights, and outputs as before on what reaches it.

``minimise sum over outputs of (w' - w)^T H (w' - w)`` over weights ``w'`` with the zeros that are allowed,
where ``H = X^T X / n`` of the inputs ``X`` (Hassibi, Stork 1992; Frantar, Alistarh 2022,
https://arxiv.org/abs/2208.11580). To every H a fraction of its mean diagonal is added: the damping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from featherweight._registry import Registry
from featherweight.errors import ModelError
from featherweight.sparsity.patterns import RowPattern


@dataclass(frozen=True, eq=False)
class LayerProblem:
    """What a method is given of a layer.

    Attributes:
        weights: (outputs, positions, inputs), as ``core.rows`` lays them out; float32 or float64.
        hessian: (groups, columns, columns), where columns are positions * inputs; a group's is that of as
            many consecutive outputs as each other's. Symmetric, without negative eigenvalues, of the weights'
            type.
        kept: how many weights to keep.
        pattern: the shapes that zeros may have.
        fixed: of the weights' shape: -inf where a weight is zero already and stays so, +inf where one has to
            stay, else 0. None: neither.
        damping: what is added to the diagonal of a Hessian, as a fraction of its mean.
    """

    weights: Tensor
    hessian: Tensor
    kept: int
    pattern: RowPattern
    fixed: Tensor | None = None
    damping: float = 0.01

    @property
    def groups(self) -> int:
        """Number of Hessians."""
        return len(self.hessian)

    @property
    def columns(self) -> int:
        """Number of weights of an output."""
        return self.hessian.shape[-1]

    @property
    def grouped(self) -> Tensor:
        """The weights as (groups, outputs of a group, columns), a view."""
        return self.weights.reshape(self.groups, -1, self.columns)

    def keep(self, scores: Tensor) -> Tensor:
        """Return the mask of the pattern for scores, bool, in the shape of ``grouped``.

        Args:
            scores: in that shape too; the highest are kept.
        """
        rows = scores.reshape(self.weights.shape)
        if self.fixed is not None:
            rows = torch.where(self.fixed == 0, rows, self.fixed.to(rows.dtype))
        return self.pattern.mask(rows, self.kept).keep.reshape(scores.shape)

    def solution(self, weights: Tensor, keep: Tensor) -> Solution:
        """Return weights and mask, in the shape of ``grouped``, as a solution; what is not kept is zero."""
        kept = weights.masked_fill(~keep, 0)
        return Solution(kept.reshape(self.weights.shape), keep.reshape(self.weights.shape))

    def error(self, weights: Tensor) -> float:
        """Return the squared error of the layer's outputs, relative to their squares, without the damping.

        Args:
            weights: (outputs, positions, inputs).
        """
        change = (weights - self.weights).reshape(self.grouped.shape)
        before = _energy(self.grouped, self.hessian)
        return _energy(change, self.hessian) / before if before else 0.0

    @cached_property
    def damped(self) -> Tensor:
        """The Hessians with their damping: positive definite.

        Where rounding leaves one that is not, its damping is raised tenfold until it is. An input that is
        always zero gets a millionth only: its weights do nothing, and are to go first.
        """
        diagonal = self.hessian.diagonal(dim1=-2, dim2=-1)
        mean = diagonal.mean(-1, keepdim=True)
        scale = mean.masked_fill(mean == 0, 1).expand_as(diagonal)
        damping = torch.full_like(mean, self.damping)
        least = 10 * torch.finfo(self.hessian.dtype).eps
        while bool((damping <= max(1.0, self.damping)).all()):
            added = torch.where(diagonal == 0, 1e-6, damping) * scale
            damped = self.hessian + torch.diag_embed(added)
            failed = torch.linalg.cholesky_ex(damped).info > 0
            if not bool(failed.any()):
                return damped
            damping = torch.where(failed[:, None], (10 * damping).clamp(min=least), damping)
        raise ModelError(
            "A Hessian has negative eigenvalues, or is not finite: it is no X^T X of any inputs."
        )

    @cached_property
    def inverse_factor(self) -> Tensor:
        """Upper triangles U with ``U^T U = H^-1`` of the damped Hessians, (groups, columns, columns)."""
        # H = T T^T with T upper is the Cholesky factorisation of H with its rows and columns reversed.
        lower = torch.linalg.cholesky(self.damped.flip(-2, -1))
        eye = torch.eye(self.columns, dtype=lower.dtype, device=lower.device).expand_as(lower)
        return torch.linalg.solve_triangular(lower, eye, upper=False).flip(-2, -1)

    @cached_property
    def inverse(self) -> Tensor:
        """The inverses of the damped Hessians, (groups, columns, columns)."""
        return self.inverse_factor.mT @ self.inverse_factor


@dataclass(frozen=True, eq=False)
class Solution:
    """What a method makes of a layer.

    Attributes:
        weights: (outputs, positions, inputs); zero where ``keep`` is False.
        keep: bool, of the same shape.
        note: what a reader of the report should know, such as that another method took its place.
    """

    weights: Tensor
    keep: Tensor
    note: str = ""


Method = Callable[[LayerProblem], Solution]

methods: Registry[Method] = Registry("method")


def undamped(method: Method) -> Method:
    """Say of a method that it solves nothing by the Hessian, so that ``damping=`` would do nothing to it."""
    vars(method)["takes_damping"] = False
    return method


def _energy(weights: Tensor, hessian: Tensor) -> float:
    return float(((weights @ hessian) * weights).sum())
