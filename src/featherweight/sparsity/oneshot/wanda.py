"""Wanda: ``score = |w_ij| sqrt(H_jj)``, weight times norm of its input; what stays is unchanged.

Sun, Liu, Bair, Kolter 2023, https://arxiv.org/abs/2306.11695. Scores are compared within each output, so that
where any zeros are allowed every output keeps as many weights.
"""

from __future__ import annotations

from dataclasses import replace

from featherweight.sparsity.oneshot._problem import LayerProblem, Solution, methods, undamped
from featherweight.sparsity.patterns import PerOutput, row_pattern


@methods.register("wanda")
@undamped
def wanda(problem: LayerProblem) -> Solution:
    """Keep the weights whose product with the norm of their input is largest, unchanged."""
    if problem.pattern == row_pattern("unstructured"):
        problem = replace(problem, pattern=PerOutput())
    weights = problem.grouped
    norms = problem.hessian.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    return problem.solution(weights, problem.keep(weights.abs() * norms[:, None]))
