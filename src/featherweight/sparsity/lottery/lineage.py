"""What all trainings from one seed share: the first weights, the rewind point, the ticket's masks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from featherweight.core.masks import Masks
from featherweight.core.prunable import find_prunable
from featherweight.core.state import fill_state, read_state
from featherweight.errors import ModelError
from featherweight.sparsity.lottery.branches import Step
from featherweight.sparsity.lottery.data import Data, data_of
from featherweight.sparsity.lottery.experiment import Experiment
from featherweight.sparsity.lottery.folder import Folder
from featherweight.sparsity.lottery.pruning import check_levels, left_at, pruned, whole
from featherweight.sparsity.lottery.rewinding import RewindPoint
from featherweight.training.streams import preserved_generators, seed_all
from featherweight.zoo import build


@dataclass(frozen=True, eq=False)
class Lineage:
    """An experiment from one seed, and its files."""

    experiment: Experiment
    folder: Folder
    seed: int

    @cached_property
    def data(self) -> Data:
        """The loaders."""
        return data_of(self.experiment.source)

    @cached_property
    def initial(self) -> RewindPoint:
        """The initialisation that the seed draws."""
        return RewindPoint(0, _state_of(self.network()))

    @cached_property
    def whole(self) -> Masks:
        """Masks that keep everything."""
        return whole(self.network(), self.experiment)

    @cached_property
    def rewind_point(self) -> RewindPoint:
        """What is rewound to; where only the learning rate is, the trained dense network at step 0."""
        if self.experiment.rewinds_weights:
            return RewindPoint.load(self.folder.rewind(self.seed))
        return RewindPoint(0, read_state(self.folder.weights(Step(0, "dense", self.seed))))

    def network(self) -> nn.Module:
        """Return a new network with the weights that the seed draws."""
        return make_network(self.experiment, self.data, self.seed)

    def fresh(self, words: str) -> RewindPoint:
        """Return weights that were drawn anew: others for other ``words``."""
        return RewindPoint(0, _state_of(make_network(self.experiment, self.data, self._draw(words))))

    def generator(self, words: str) -> torch.Generator:
        """Return a generator that depends on the seed and ``words`` only: the same in every process."""
        return torch.Generator().manual_seed(self._draw(words))

    def left(self, level: int) -> int:
        """Return how many weights are kept at a level."""
        return left_at(self.experiment, find_prunable(self.network(), self.experiment.skip), level).total

    def ticket_masks(self, level: int) -> Masks:
        """Return the ticket's masks at a level, made where they are not there of the level before."""
        if level == 0:
            return self.whole
        path = self.folder.masks(Step(level, "ticket", self.seed))
        if not path.exists():
            trained = self.network()
            fill_state(trained, self.folder.weights(self._before(level)))
            path.parent.mkdir(parents=True, exist_ok=True)
            pruned(trained, self.experiment, level, self.ticket_masks(level - 1)).save(path)
        return Masks.load(path)

    def pruned_at_once(self, level: int) -> Masks:
        """Return the masks that the trained dense network is pruned to a level with, in one step."""
        trained = self.network()
        fill_state(trained, self.folder.weights(Step(0, "dense", self.seed)))
        return pruned(trained, self.experiment, level, self.whole)

    def trained_before(self, level: int) -> RewindPoint:
        """Return the weights that the ticket had at the end of the level before, at step 0."""
        return RewindPoint(0, read_state(self.folder.weights(self._before(level))))

    def _before(self, level: int) -> Step:
        return Step(level - 1, "ticket" if level > 1 else "dense", self.seed)

    def _draw(self, words: str) -> int:
        return zlib.crc32(f"{self.seed} {words}".encode())


def make_network(experiment: Experiment, data: Data, draw: int) -> nn.Module:
    """Return a new network with the weights that the seed ``draw`` makes; the generators stay as they are.

    Raises:
        ModelError: the function of the network returns something else.
    """
    with preserved_generators(torch.device("cpu")):
        seed_all(draw)
        name = experiment.network
        model = build(name, **dict(data.form)) if isinstance(name, str) else name()
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ModelError(f"The function of the network returned a {type(model).__name__}, not a module.")
    return model


def check(experiment: Experiment) -> int:
    """Look at network and data before anything is trained or written; return the steps of a training.

    Raises:
        SettingError: there is no training after the step to rewind to, or the last level leaves too little.
        ModelError: there is nothing to prune, or the network is the same from every seed.
        DataError: the data are of another form.
        TrainingError: a loader has no batches.
    """
    data = data_of(experiment.source)
    steps = experiment.total_steps(data)
    experiment.rewind_step(steps)
    first, second = (make_network(experiment, data, draw) for draw in (0, 1))
    check_levels(experiment, find_prunable(first, experiment.skip))
    same = all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    if same:
        raise ModelError(
            "The function of the network draws the same weights from every seed: take the seeding (or the "
            "loading of weights) out of it. Random re-initialisation needs other weights."
        )
    return steps


def _state_of(model: nn.Module) -> Mapping[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
