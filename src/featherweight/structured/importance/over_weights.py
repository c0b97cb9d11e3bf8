"""Criteria of single weights for units: ``score(unit) = sum of the scores of its weights``.

Any criterion of ``featherweight.sparsity`` ranks channels so; "magnitude" gives L1.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from featherweight.core.prunable import find_prunable
from featherweight.errors import UnknownNameError
from featherweight.sparsity import criteria
from featherweight.structured.groups import Group
from featherweight.structured.importance._base import (
    Context,
    Importance,
    UnitScores,
    importances,
    slices,
)


def over_weights(criterion: criteria.Criterion) -> Importance:
    """Make a structured criterion of a criterion of single weights, ``(weights, context) -> scores``."""

    @lru_cache(maxsize=1)  # the scores of all weights are asked for by each group
    def scores_of(context: Context) -> criteria.Scores:
        weights = {weight.name: weight.tensor.detach() for weight in find_prunable(context.model).weights}
        return criterion(weights, criteria.Context(context.model, context.data, context.seed))

    def over_all(group: Group, context: Context) -> UnitScores:
        total = np.zeros(len(group))
        for _, table in slices(group, scores_of(context)):
            total += table.sum(1).double().cpu().numpy()
        return total

    return over_all


def importance_of(criterion: str | Importance) -> Importance:
    """Return the structured criterion of that name, or else that of single weights; a callable as it is.

    Raises:
        UnknownNameError: there is neither; lists both.
    """
    if not isinstance(criterion, str):
        return criterion
    if criterion in importances or criterion not in criteria.criteria:
        try:
            return importances[criterion]
        except UnknownNameError as error:
            others = ", ".join(name for name in criteria.criteria if name not in importances)
            raise UnknownNameError(f"{error} Those of single weights, summed: {others}.") from None
    return over_weights(criteria.criteria[criterion])
