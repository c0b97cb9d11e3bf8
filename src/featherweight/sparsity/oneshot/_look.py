"""A look at the network before anything is pruned: a pass over the data, joined where they can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import nn

from featherweight.core.prunable import PrunableWeight
from featherweight.errors import FeatherweightError
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.oneshot._batch_norm import Norms
from featherweight.sparsity.oneshot._joined import NotJoinedError, joined
from featherweight.sparsity.oneshot._kept import unchanged_on_failure
from featherweight.sparsity.oneshot._passes import Passes
from featherweight.sparsity.oneshot.settings import Settings


@dataclass(frozen=True, eq=False)
class Look:
    """What was found.

    Attributes:
        passes: the network, and the data as they are passed through it.
        norms: batch norms that were looked at, to be matched.
        uses: how often a forward pass uses each weight, by name, in the order of first uses.
        is_one_batch: whether the data are a single batch, or were made one.
        reason: why they were not; "" if they were, or were not to be.
    """

    passes: Passes
    norms: Norms
    uses: Mapping[str, int]
    is_one_batch: bool
    reason: str


def look(
    model: nn.Module,
    weights: Sequence[PrunableWeight],
    data: Calibration,
    batches: int | None,
    *,
    settings: Settings,
    skip: Sequence[str],
) -> Look:
    """Look at ``model``.

    Args:
        model: the network, without wrappers.
        weights: all that are to be pruned.
        data: held ones; see ``Calibration.held``.
        batches: how many to take of them at most; None: all.
        settings: how layers are pruned.
        skip: norms to leave alone.

    Raises:
        ModelError: it cannot be seen what reaches some of the weights.
        SettingError: there are no data, or norms are to be matched and the data are no batches.
    """

    def at(source: Calibration, *, is_one_batch: bool = False, reason: str = "") -> Look:
        passes = Passes(model, source, batches)
        norms = Norms(passes, settings.batch_norm, skip)
        with norms.looking() as begins:
            uses = passes.uses(weights, begins)
        return Look(passes, norms, uses, is_one_batch, reason)

    given, limit = data.source, settings.memory_limit
    if limit == 0 or not isinstance(given, list) or not given:
        return at(data)
    try:
        whole = joined(model, weights, cast("list[Any]", given), float("inf" if limit is None else limit))
        with unchanged_on_failure(model):
            return at(replace(data, source=[whole]), is_one_batch=True)
    except NotJoinedError as error:
        reason = str(error)
    except FeatherweightError:
        raise
    except Exception as error:  # any network, and there may be no memory
        reason = f"on all of them the network fails: {error}"
    return at(data, reason=reason)
