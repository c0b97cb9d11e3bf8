"""Passes over the data that watch what reaches some of the weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from featherweight.core.batches import device_of, moved, outputs_of
from featherweight.core.prunable import PrunableWeight
from featherweight.core.rows import rows_shape
from featherweight.core.trace import evaluated
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.layer_inputs import EnoughError, InputWatch, valid_positions, watched_inputs
from featherweight.sparsity.oneshot._moments import InputMoments, Moments, bytes_of

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

    def uses(self, weights: Sequence[PrunableWeight]) -> dict[str, int]:
        """Return how often a forward pass uses each weight, in the order of first uses.

        Batches may differ, as sequences of several lengths do in a loop over time: the most counts. 0 where a
        callable gives the losses.

        Raises:
            ModelError: it cannot be seen what reaches some of them.
            SettingError: there are no data.
        """
        most: dict[str, int] = {}
        before: dict[str, int] = {}

        def count() -> None:
            for name, uses in watch.uses.items():
                most[name] = max(most.get(name, 0), uses - before.get(name, 0))
            before.update(watch.uses)

        with watched_inputs(weights) as watch:
            self._watched(watch, after=count)
        if unseen := watch.unseen():
            raise ModelError(_not_seen(unseen))
        return {name: most.get(name, 0) for name in watch.uses}

    def bytes_held(self, weights: Sequence[PrunableWeight]) -> dict[str, int]:
        """Return how much memory the Hessians of each weight take while inputs are added to them, in bytes.

        It depends on the calls: a grouped convolution has one a group, and attention one for each of query,
        key and value where these differ.
        """
        held: dict[str, dict[range, int]] = {w.name: {} for w in weights}
        with watched_inputs(
            weights, lambda given: held[given.name].update({given.outputs: bytes_of(given)})
        ) as watch:
            self._watched(watch)
        return {name: sum(of_outputs.values()) for name, of_outputs in held.items()}

    def moments(
        self,
        weights: Sequence[PrunableWeight],
        uses: Mapping[str, int],
        preparing: Preparing = lambda before_layers: nullcontext(lambda: None),
    ) -> dict[str, Moments]:
        """Return the moments of what reaches ``weights``; a pass ends after the last of their uses.

        Args:
            weights: of the layers that are looked at.
            uses: how often a forward pass uses each.
            preparing: entered for the pass with a function that says whether it has not come to the layers
                yet; gives one to call before each batch.
        """
        sums = {
            w.name: InputMoments(w.name, rows_shape(w.tensor.shape, w.output_dim, w.groups)[0])
            for w in weights
        }
        with (
            watched_inputs(weights, lambda given: sums[given.name].add(given)) as watch,
            preparing(lambda: not watch.uses) as begins,
        ):
            if self.data.has_batches and all(uses[w.name] for w in weights):
                watch.enough = {w.name: uses[w.name] for w in weights}
            self._watched(watch, begins)
        return {name: found.result() for name, found in sums.items()}

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

    def _watched(
        self,
        watch: InputWatch,
        begins: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        def before(batch: Any) -> None:
            begins()
            watch.valid = valid_positions(batch, self.model)
            if watch.enough:
                watch.uses.clear()

        if self.data.has_batches:
            self.run(before=before, after=after)
        else:
            self.data.run(self.model, self.batches)


def _not_seen(unseen: Mapping[str, str]) -> str:
    some = "; ".join(f"{name}: {reason}" for name, reason in list(unseen.items())[:5])
    more = f"; and {len(unseen) - 5} more" if len(unseen) > 5 else ""
    return (
        f"It is not seen what reaches {len(unseen)} weights in these data ({some}{more}). "
        f"Leave them alone with skip=, or give data that reach them."
    )
