"""What reaches the layers, found on the way: every batch goes through the network once.

Before a layer that is not pruned yet a batch waits; when all of them wait, what reaches the layer is summed,
the layer is pruned, and they go on with what it gives then. They wait as well before a batch norm that is
still to be matched. So a network costs one pass, not one for each layer; held meanwhile is what the forward
passes of all batches hold where they wait.

A layer that a batch uses several times, or that batches come to in different orders, has a pass of its own:
what reaches its last use is known only when the batch has gone past the first. So has a layer behind a norm
that a batch comes to several times, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from featherweight.core.batches import device_of, moved, outputs_of
from featherweight.core.eager import eager
from featherweight.core.prunable import PrunableWeight
from featherweight.core.trace import evaluating, unfused
from featherweight.sparsity.layer_inputs import InputWatch, LayerInput, valid_positions
from featherweight.sparsity.oneshot._batch_norm import Norms, Pool
from featherweight.sparsity.oneshot._moments import InputMoments, Moments
from featherweight.sparsity.oneshot._passes import Passes, Uses
from featherweight.sparsity.oneshot._walk import Walk

_THREADS = 4096  # at most: each batch has one, and torch makes helpers for each that computes


class OnePass:
    """The batches on their way through the network."""

    def __init__(
        self,
        passes: Passes,
        weights: Sequence[PrunableWeight],
        uses: Uses,
        norms: Norms,
        *,
        low_memory: bool = False,
    ) -> None:
        """Begin before the first layer.

        Args:
            passes: the network and the data.
            weights: all that are to be pruned, in the order of ``uses``.
            uses: of the weights.
            norms: those that are matched on the way.
            low_memory: run the network anew for each layer, and hold nothing. So it is too where a callable
                gives the losses, and where batches are so many that their threads would be too many.
        """
        self._passes, self._weights, self._uses, self._norms = passes, weights, uses, norms
        number = len(uses.each)
        self._waits = not low_memory and 0 < number * torch.get_num_threads() <= _THREADS
        self._unpruned = {weight.name for weight in weights}
        self._batches: list[_Batch] = []
        self._current: _Batch | None = None
        self._missed = False  # whether a batch went past a norm that is still to be matched

    @contextmanager
    def open(self) -> Generator[None]:
        """Leave the forward passes where they are when the block ends."""
        with unfused(), eager(), evaluating(self._passes.model), self._norms.reached(self._at_norm):
            try:
                yield
            finally:
                self._leave()

    def moments(self, weight: PrunableWeight) -> Moments:
        """Return the moments of what reaches ``weight``, the first one in order that is not ``done``."""
        if self._waits:
            self._advance()
            if not self._missed and all(batch.shows(weight.name) for batch in self._batches):
                return self._sum(weight)
        found = self._passes.moments(weight, self._uses, self._norms.matching)
        if self._norms.has_settled:  # the batches may have gone past what changed
            self._leave()
        return found

    def done(self, name: str) -> None:
        """Let batches go past the weight called ``name``: it is pruned."""
        self._unpruned.discard(name)

    def _sum(self, weight: PrunableWeight) -> Moments:
        sums = InputMoments.of(weight)
        for batch in self._batches:
            if batch.layer == weight.name and batch.inputs is not None:
                for given in batch.inputs:
                    sums.add(given)
        return sums.result()

    def _advance(self) -> None:
        """Let every batch go on until it ends, or waits before a layer that is not pruned."""
        if not self._batches:
            self._begin()
        while True:
            for batch in self._batches:
                if not batch.walk.ended and batch.layer not in self._unpruned:
                    self._go(batch)
            norms = {batch.norm for batch in self._batches if batch.norm}
            if not norms:
                return
            for name in norms:
                self._match(name)

    def _begin(self) -> None:
        self._missed = False
        for uses, item in zip(self._uses.each, self._passes.source, strict=True):
            batch = _Batch(uses)
            batch.walk = Walk(self._forward(batch, item))
            self._batches.append(batch)

    def _forward(self, batch: _Batch, item: Any) -> Callable[[], None]:
        def forward() -> None:
            model = self._passes.model
            inputs = moved(item, device_of(model))
            watch = _Watch(self._weights, self._at_layer)
            watch.valid = valid_positions(inputs, model)
            with watch:
                outputs_of(model, inputs, labels=True)

        return forward

    def _go(self, batch: _Batch) -> None:
        batch.layer, batch.inputs = "", None
        self._current = batch
        try:
            batch.walk.go()
        finally:
            self._current = None

    def _at_layer(self, name: str, inputs: Iterator[LayerInput]) -> None:
        """Wait, within the forward pass of the current batch, until the layer is pruned."""
        batch = self._current
        if batch is not None and name in self._unpruned:
            batch.layer, batch.inputs = name, inputs
            batch.walk.wait()

    def _at_norm(self, name: str, inputs: Tensor) -> None:
        """Wait, within the forward pass of the current batch, until the norm is matched."""
        batch = self._current
        if batch is None:  # this is another pass
            return
        batch.pool = Pool.of(inputs) if self._norms.comes_once(name, len(self._batches)) else None
        if batch.pool is None:
            self._missed = True
        else:
            batch.norm = name
            batch.walk.wait()

    def _match(self, name: str) -> None:
        """Match a norm that some batches wait at, if all do and all before it is done; let them go on."""
        pools = [batch.pool for batch in self._batches if batch.norm == name and batch.pool is not None]
        if len(pools) == len(self._batches) and not self._missed:
            self._norms.match(name, pools)
        else:
            self._missed = True
        for batch in self._batches:
            if batch.norm == name:
                batch.norm, batch.pool = "", None

    def _leave(self) -> None:
        for batch in self._batches:
            batch.walk.leave()
        self._batches = []


@dataclass(eq=False)
class _Batch:
    """Where a batch is.

    Attributes:
        uses: how often it uses each weight.
        walk: its forward pass.
        layer: name of the weight that it waits before; "" if it does not.
        inputs: what reaches that weight; None likewise.
        norm: name of the norm that it waits before; "" if it does not.
        pool: of what reaches that norm.
    """

    uses: Mapping[str, int]
    walk: Walk = field(init=False)
    layer: str = ""
    inputs: Iterator[LayerInput] | None = None
    norm: str = ""
    pool: Pool | None = None

    def shows(self, name: str) -> bool:
        """Whether all is known that reaches the weight of this name in this batch."""
        return self.uses.get(name, 0) <= (self.layer == name)


class _Watch(InputWatch):
    """An eye on weights that calls ``stop`` before each use."""

    def __init__(
        self, weights: Sequence[PrunableWeight], stop: Callable[[str, Iterator[LayerInput]], None]
    ) -> None:
        super().__init__(weights)
        self._stop = stop

    def reached(self, name: str, inputs: Iterator[LayerInput]) -> None:
        """Stop there."""
        self._stop(name, inputs)
