"""A run: every layer is pruned in order, for what reaches it once the layers before it are pruned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from featherweight.sparsity.layer_inputs import EnoughError, LayerInput, watched_inputs
from featherweight.sparsity.oneshot._layer import Layer, Pruned
from featherweight.sparsity.oneshot._look import Look
from featherweight.sparsity.oneshot._moments import InputMoments, Moments
from featherweight.sparsity.oneshot._precision import full_precision
from featherweight.sparsity.oneshot._saved import SavedLayers
from featherweight.sparsity.oneshot._view import View
from featherweight.sparsity.oneshot.settings import Settings


@dataclass(eq=False)
class Run:
    """The layers of a network while they are pruned one after the other.

    Where all batches are one, a forward pass prunes the layers as it comes to them, and goes on with what
    they give from then on, so that one pass may do for all. It is left early where more is to be known than
    it has seen until then: at a layer or a norm that is used several times, or a layer out of order. What
    reaches the next layer is then seen by a pass of its own; so it always is where there are several batches.
    What a network reads of a weight before its layer runs, such as a clone of its bias, is read unpruned.

    Attributes:
        layers: to prune, in the order of their first uses.
        kept: how many weights each keeps, by name.
        seen: what a look at the network found.
        settings: how layers are pruned.
        saved: layers that are finished.
        shown: what shows how far the run is.
        done: the layers that are pruned, in order.
    """

    layers: Sequence[Layer]
    kept: Mapping[str, int]
    seen: Look
    settings: Settings
    saved: SavedLayers
    shown: View
    done: list[Pruned] = field(default_factory=list[Pruned])
    _carried: int = 0  # what a pattern kept less of the last layer goes to the next

    def prune(self) -> list[Pruned]:
        """Prune all layers; return them."""
        while self._left:
            if self.seen.is_one_batch and self._is_used_once(self._next):
                self._prune_on_the_way()
            if self._left:
                self._prune(self._in_a_pass)
        return self.done

    @property
    def _left(self) -> int:
        return len(self.layers) - len(self.done)

    @property
    def _next(self) -> Layer:
        return self.layers[len(self.done)]

    def _is_used_once(self, layer: Layer) -> bool:
        return self.seen.uses[layer.weight.name] == 1

    def _prune_on_the_way(self) -> None:
        """Prune the layers that a forward pass comes to, as far as it shows all that reaches them."""
        weights = {layer.weight.name: layer.weight for layer in self.layers[len(self.done) :]}
        faults: list[BaseException] = []

        def go_on_if(shows_all: bool) -> None:
            if not shows_all:
                faults.append(EnoughError())
            if faults:  # the network may have caught one
                raise faults[0]

        def reached(name: str, inputs: Iterator[LayerInput]) -> None:
            if name not in weights:  # it is pruned
                return
            go_on_if(name == self._next.weight.name and self._is_used_once(self._next))
            try:
                self._prune(lambda layer: _moments(layer, inputs))
            except BaseException as error:
                faults.append(error)
                raise
            del weights[name]

        with (
            watched_inputs(list(weights.values()), reached=reached) as watch,
            self.seen.norms.matching_on_the_way(go_on_if) as begins,
        ):
            self.seen.passes.watched(watch, begins)
        if faults and not isinstance(faults[0], EnoughError):
            raise faults[0]

    def _in_a_pass(self, layer: Layer) -> Moments:
        """Return what reaches a layer in all its uses."""
        return self.seen.passes.moments(
            layer.weight, self.seen.uses[layer.weight.name], self.seen.norms.matching
        )

    def _prune(self, moments: Callable[[Layer], Moments]) -> None:
        """Prune the next layer, or take over what is saved of it."""
        layer, number = self._next, len(self.done)
        name = layer.weight.name
        self.shown.at(name)
        wanted = self.kept[name] + self._carried
        pruned = self.saved.load(number, name)
        if pruned is None:
            with torch.inference_mode(mode=False), torch.no_grad():  # the network may infer
                pruned = self._solved(layer, moments(layer), wanted)
            pruned = replace(pruned, norms=self.seen.norms.settled())
            self.saved.save(number, pruned)
        else:
            self.seen.norms.settle(pruned.norms)
        layer.write(pruned)
        self._carried = wanted - pruned.mask.kept
        self.done.append(pruned)
        self.shown.done(pruned.report)

    def _solved(self, layer: Layer, moments: Moments, kept: int) -> Pruned:
        with full_precision(moments.hessian.device):
            problem = layer.problem(moments, kept, self.settings.pattern, self.settings.fraction)
            return layer.prune(problem, self.settings.chosen, moments)


def _moments(layer: Layer, inputs: Iterator[LayerInput]) -> Moments:
    sums = InputMoments.of(layer.weight)
    for given in inputs:
        sums.add(given)
    return sums.result()
