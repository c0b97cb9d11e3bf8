"""The best values of the weights that are kept, given which: least squares, exactly.

``w' = argmin (w' - w)^T H (w' - w)`` with zeros where nothing is kept: ``H_SS w'_S = (H w)_S`` on the support
S of each output. It is what exact optimal brain surgery leaves behind, in whatever order the weights went.
"""

from __future__ import annotations

import torch
from torch import Tensor

from featherweight.sparsity.oneshot._problem import LayerProblem, Solution

_BYTES = 2**28  # of the systems that are solved together


def refit(problem: LayerProblem, keep: Tensor) -> Solution:
    """Return the solution of least error with exactly these weights kept.

    Args:
        problem: its weights are the dense ones; ``kept`` and the pattern are not looked at.
        keep: bool (outputs, positions, inputs).
    """
    support = keep.reshape(problem.grouped.shape)
    targets = problem.grouped @ problem.damped
    weights = torch.zeros_like(targets)
    size = max(1, _BYTES // (problem.columns**2 * targets.itemsize))
    for group in range(problem.groups):
        for rows in torch.arange(targets.shape[1], device=targets.device).split(size):
            weights[group, rows] = _solved(problem.damped[group], targets[group, rows], support[group, rows])
    return problem.solution(weights, support)


def _solved(hessian: Tensor, targets: Tensor, support: Tensor) -> Tensor:
    """Solve (rows, columns) systems at once: outside of its support a row's is the identity, with zero."""
    inside = support[:, :, None] & support[:, None, :]
    systems = torch.where(inside, hessian, 0)
    systems.diagonal(dim1=-2, dim2=-1).add_((~support).to(hessian.dtype))
    factors = torch.linalg.cholesky(systems)
    return torch.cholesky_solve(targets.masked_fill(~support, 0)[..., None], factors)[..., 0]
