"""Criteria of single weights for units: ``score(unit) = sum of the scores of its weights``.

Any criterion of ``featherweight.sparsity`` ranks channels so; "magnitude" gives L1. A group without a weight
that those score, such as the channels of a lone embedding, is scored by L2.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from featherweight.core.prunable import find_prunable
from featherweight.errors import ModelError, UnknownNameError
from featherweight.sparsity import criteria
from featherweight.structured.groups import Group
from featherweight.structured.importance._base import (
    Context,
    Importance,
    UnitScores,
    importances,
    slices,
)
from featherweight.structured.importance.l2 import l2


def over_weights(criterion: criteria.Criterion) -> Importance:
    """Make a structured criterion of a criterion of single weights, ``(weights, context) -> scores``."""

    @lru_cache(maxsize=1)  # the scores of all weights are asked for by each group
    def scores_of(context: Context) -> criteria.Scores:
        try:
            found = find_prunable(context.model).weights
        except ModelError:  # embeddings and norms alone
            return {}
        weights = {weight.name: weight.tensor.detach() for weight in found}
        scores = criterion(weights, criteria.Context(context.model, context.data, context.seed))
        return {**scores, **{alias: scores[w.name] for w in found for alias in w.aliases}}

    def over_all(group: Group, context: Context) -> UnitScores:
        tables = [table for _, table in slices(group, scores_of(context))]
        if not tables:
            return l2(group, context)
        return sum((table.sum(1).double().cpu().numpy() for table in tables), np.zeros(len(group)))

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
