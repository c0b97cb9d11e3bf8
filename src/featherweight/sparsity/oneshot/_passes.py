"""Passes over the data that watch what reaches some of the weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from featherweight.core.batches import device_of, moved, outputs_of
from featherweight.core.prunable import PrunableWeight
from featherweight.core.trace import evaluated
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.layer_inputs import EnoughError, InputWatch, valid_positions, watched_inputs
from featherweight.sparsity.oneshot._moments import InputMoments, Moments

Preparing = Callable[[Callable[[], bool]], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True, eq=False)
class Passes:
    """A network, and data to run it on, the same ones each time.

    Attributes:
        model: the network, without wrappers.
        data: the data.
        batches: how many of them, at most; None: all.
    """

    model: nn.Module
    data: Calibration
    batches: int | None = None

    def uses(
        self, weights: Sequence[PrunableWeight], begins: Callable[[], None] = lambda: None
    ) -> dict[str, int]:
        """Return how often a forward pass uses each weight, in the order of first uses, by a pass.

        Batches may differ, as sequences of several lengths do in a loop over time: the most counts. What only
        some of them use comes behind what they use before it. 0 where a callable gives the losses.

        Args:
            weights: to look at.
            begins: called before each batch.

        Raises:
            ModelError: it cannot be seen what reaches some of them.
            SettingError: there are no data.
        """
        most: dict[str, int] = {}
        order: list[str] = []

        def count() -> None:
            for name, uses in watch.uses.items():
                most[name] = max(most.get(name, 0), uses)
            _insert(order, watch.uses)
            watch.uses.clear()

        with watched_inputs(weights) as watch:
            self.watched(watch, begins, count)
        watch.uses.update(most)
        if unseen := watch.unseen():
            raise ModelError(_not_seen(unseen))
        return {name: most.get(name, 0) for name in order or watch.uses}

    def moments(
        self,
        weight: PrunableWeight,
        uses: int,
        preparing: Preparing = lambda before_layer: nullcontext(lambda: None),
    ) -> Moments:
        """Return the moments of what reaches ``weight``, by a pass that ends after the last of its uses.

        Args:
            weight: of the layer that is looked at.
            uses: how often a forward pass uses it; 0 if that is not known.
            preparing: entered for the pass with a function that says whether it has not come to the layer
                yet; gives one to call before each batch.
        """
        sums = InputMoments.of(weight)
        with (
            watched_inputs([weight], sums.add) as watch,
            preparing(lambda: not watch.uses) as begins,
        ):
            if uses:
                watch.enough = {weight.name: uses}
            self.watched(watch, begins)
        return sums.result()

    def run(
        self, *, before: Callable[[Any], None] = lambda batch: None, after: Callable[[], None] = lambda: None
    ) -> None:
        """Pass each batch through the network, evaluating, on its device.

        Args:
            before: called with each batch.
            after: called after each batch, also if it ended early.

        Raises:
            SettingError: there are no batches.
        """
        source = list(itertools.islice(cast("Iterable[Any]", self.data.source), self.batches))
        if not source:
            raise SettingError(
                "data= gave no batch. An iterator can be read only once: pass a list or a loader."
            )
        with evaluated(self.model), torch.no_grad():
            for item in source:
                batch = moved(item, device_of(self.model))
                before(batch)
                with suppress(EnoughError):
                    outputs_of(self.model, batch, labels=True)
                after()

    def watched(
        self,
        watch: InputWatch,
        begins: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Pass all data through the network within ``watch``.

        Args:
            watch: that is entered.
            begins: called before each batch.
            after: called after each batch, also if it ended early.
        """

        def before(batch: Any) -> None:
            begins()
            watch.valid = valid_positions(batch, self.model)
            if watch.enough:
                watch.uses.clear()

        if self.data.has_batches:
            self.run(before=before, after=after)
        else:
            self.data.run(self.model, self.batches)


def _insert(order: list[str], found: Collection[str]) -> None:
    """Put those of the names ``found`` that are new into ``order``, each behind the one before it."""
    if set(found) <= set(order):
        return
    place = 0
    for name in found:
        if name not in order:
            order.insert(place, name)
        place = order.index(name) + 1


def _not_seen(unseen: Mapping[str, str]) -> str:
    some = "; ".join(f"{name}: {reason}" for name, reason in list(unseen.items())[:5])
    more = f"; and {len(unseen) - 5} more" if len(unseen) > 5 else ""
    return (
        f"It is not seen what reaches {len(unseen)} weights in these data ({some}{more}). "
        f"Leave them alone with skip=, or give data that reach them."
    )
