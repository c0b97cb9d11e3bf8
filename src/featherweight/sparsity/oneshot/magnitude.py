"""Magnitude: the weights of largest ``|w|`` stay as they are. The inputs are not looked at."""

from __future__ import annotations

from featherweight.sparsity.oneshot._problem import LayerProblem, Solution, methods, undamped


@methods.register("magnitude")
@undamped
def magnitude(problem: LayerProblem) -> Solution:
    """Keep the largest weights, unchanged."""
    weights = problem.grouped
    return problem.solution(weights, problem.keep(weights.abs()))
