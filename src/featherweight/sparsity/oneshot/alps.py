"""ALPS: the mask by operator splitting (ADMM), then the values on it by conjugate gradients.

Meng, Behdin, Wang, Mazumder 2024, https://arxiv.org/abs/2406.07831. The weights are scaled by the square root
of H's diagonal, so that it is 1. Then, with ``P`` the projection onto what the pattern allows::

    W = (H + rho I)^-1 (H W0 - V + rho D)
    D = P(W + V / rho)
    V = V + rho (W - D)

``rho`` grows every third step, the faster the more of D's zeros moved meanwhile; once none do, D's are the
mask. It may have settled on a poor one: the mask that it began with is fitted too, and the better one taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.errors import SettingError
from featherweight.sparsity.oneshot._problem import LayerProblem, Solution, methods

_EVERY = 3
_GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))  # of rho, by the moved fraction of what is kept


@dataclass(frozen=True)
class ALPS:
    """Find the mask by ADMM, and fit what stays by conjugate gradients.

    Attributes:
        rho: the penalty at the start.
        steps: of ADMM, at most.
        refit_steps: of conjugate gradients, at most.
        tolerance: of their residual, relative, at which they end before.
    """

    rho: float = 0.1
    steps: int = 300
    refit_steps: int = 100
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        if not (self.rho > 0 and self.steps >= 1 and self.refit_steps >= 0 and self.tolerance >= 0):
            raise SettingError(f"ALPS takes rho > 0 and steps >= 1; got {self}.")

    def __call__(self, problem: LayerProblem) -> Solution:
        """Choose the mask, then fit what it keeps."""
        scale = problem.damped.diagonal(dim1=-2, dim2=-1).sqrt()  # (groups, columns)
        hessian = problem.damped / (scale[:, :, None] * scale[:, None, :])
        dense = problem.grouped * scale[:, None]
        fits = [self._fitted(hessian, dense, keep) for keep in self._masks(problem, hessian, dense)]
        _, best, keep = min(fits, key=lambda fit: fit[0])
        return problem.solution(best / scale[:, None], keep)

    def _masks(self, problem: LayerProblem, hessian: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mask that is left when no more zeros move, and the one that it began with."""
        values, vectors = torch.linalg.eigh(hessian)
        target, rho = dense @ hessian, self.rho
        split, dual = dense, torch.zeros_like(dense)
        before = keep = begin = problem.keep(dense.square())
        for step in range(1, self.steps + 1):
            right = target - dual + rho * split
            weights = (right @ vectors / (values + rho)[:, None]) @ vectors.mT
            shifted = weights + dual / rho
            keep = problem.keep(shifted.square())
            split = shifted.masked_fill(~keep, 0)
            dual = dual + rho * (weights - split)
            if step % _EVERY == 0:
                moved = int(torch.count_nonzero(keep ^ before))
                if not moved:
                    break
                rho *= next(growth for part, growth in _GROWTH if moved >= part * problem.kept)
                before = keep
        return keep, begin

    def _fitted(self, hessian: Tensor, dense: Tensor, keep: Tensor) -> tuple[float, Tensor, Tensor]:
        """Minimise the error on a mask; the diagonal is 1 already, which is the preconditioner.

        Returns:
            The error, the weights and the mask.
        """
        weights = dense.masked_fill(~keep, 0)
        residual = ((dense - weights) @ hessian).masked_fill(~keep, 0)
        direction, size = residual.clone(), residual.square().sum(-1, keepdim=True)
        enough = self.tolerance**2 * (dense @ hessian).square().sum(-1, keepdim=True)
        for _ in range(self.refit_steps):
            if bool((size <= enough).all()):
                break
            ahead = (direction @ hessian).masked_fill(~keep, 0)
            step = size / (direction * ahead).sum(-1, keepdim=True).clamp(min=_tiny(size))
            weights = weights + step * direction
            residual = residual - step * ahead
            smaller = residual.square().sum(-1, keepdim=True)
            direction = residual + smaller / size.clamp(min=_tiny(size)) * direction
            size = smaller
        change = weights - dense
        return float(((change @ hessian) * change).sum()), weights, keep


methods.register("alps")(ALPS())


def _tiny(like: Tensor) -> float:
    return torch.finfo(like.dtype).tiny
