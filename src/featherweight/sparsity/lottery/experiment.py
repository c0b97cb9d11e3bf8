"""An experiment: what is trained, how it is pruned and rewound, and the hash of these settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, field, replace
from typing import Any, cast

from torch import nn

from featherweight.errors import SettingError, TrainingError
from featherweight.sparsity.allocation import Allocation, allocations
from featherweight.sparsity.lottery.branches import branches
from featherweight.sparsity.lottery.data import Data, DataLike, as_source
from featherweight.sparsity.lottery.identity import digest, named
from featherweight.training import TrainingSettings
from featherweight.zoo import network_names

LEARNING_RATE = "learning rate"
BRANCHES = ("ticket", "random_init", "shuffled_mask", "random_mask", "one_shot", "dense")
_FORMAT = 1  # of the identity: another one where the same settings come to mean something else


@dataclass(frozen=True)
class Experiment:
    """Iterative magnitude pruning with rewinding, and the branches that it is compared with.

    Frankle, Carbin 2019 (https://arxiv.org/abs/1803.03635); rewinding to an early step: Frankle, Dziugaite,
    Roy, Carbin 2020 (https://arxiv.org/abs/1912.05671); of the learning rate: Renda, Frankle, Carbin 2020
    (https://arxiv.org/abs/2003.02389).

    Attributes:
        network: a network of the zoo by name, or a function that returns a new network with fresh weights;
            it must draw them from torch's generator and not seed that itself.
        data: a data set of the zoo by name (in batches of 128, not augmented; ``ZooData`` says otherwise),
            ``Data``, or a function that returns (train, validate) or (train, validate, test) loaders.
        levels: how many times a fraction is pruned; at level n ``(1 - fraction) ** n`` of the weights remain.
        fraction: of the weights that are left, how many go at each level, 0..1, both excluded.
        output_fraction: the same for the network's last layer, set apart; None: it is like the others.
            Frankle and Carbin prune it at half the rate.
        rewind: 0: the weights are rewound to their initialisation. A number above: to what they were after
            so many optimizer steps, or after that fraction of the run (0.05), with the statistics of batch
            norm, the optimizer and the learning rate of that step. "learning rate": the weights stay as they
            are trained, and the learning rate starts anew.
        branches: what is trained, by name; what a branch needs is trained with it.
        seeds: a whole experiment each.
        settings: of every training; its seed is not used.
        allocation: how many weights each layer keeps: "global", or "uniform" for the same fraction of each
            layer, as Frankle and Carbin prune LeNet, or another that asks for scores alone.
        skip: names or patterns of parameters and modules that are not pruned.

    Raises:
        SettingError: a setting is wrong.
    """

    network: str | Callable[[], nn.Module]
    data: DataLike
    levels: int = 12
    fraction: float = 0.2
    output_fraction: float | None = None
    rewind: int | float | str = 0
    branches: tuple[str, ...] = BRANCHES
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    allocation: str | Allocation = "global"
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("branches", "seeds", "skip"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str | int) else tuple(value))
        _check_network(self.network)
        object.__setattr__(self, "data", as_source(self.data))
        if type(self.levels) is not int or self.levels < 1:
            raise SettingError(f"levels is a whole number of at least 1, got {self.levels!r}.")
        _check_fraction("fraction", self.fraction)
        if self.output_fraction is not None:
            _check_fraction("output_fraction", self.output_fraction, least_allowed=True)
        _check_rewind(self.rewind)
        _check_distinct("branches", self.branches)
        for name in self.branches:
            branches[name]
        _check_distinct("seeds", self.seeds)
        if not all(type(seed) is int and seed >= 0 for seed in self.seeds):
            raise SettingError(f"seeds are whole numbers of at least 0, got {self.seeds!r}.")
        _check_allocation(self.allocation)
        self.identity()

    def identity(self) -> dict[str, Any]:
        """Return the settings that all levels, branches and seeds share, as JSON values."""
        training = self.settings.identity() | {"precision": self.settings.precision}
        return {
            "format": _FORMAT,
            "network": named("network", self.network),
            "data": named("data", self.data),
            "fraction": self.fraction,
            "output_fraction": self.output_fraction,
            "rewind": self.rewind,
            "allocation": named("allocation", self.allocation),
            "skip": list(self.skip),
            "training": {name: value for name, value in training.items() if name != "seed"},
        }

    @property
    def hash(self) -> str:
        """12 hexadecimal digits, the same in every process, and others where any setting is another one."""
        more = {"levels": self.levels, "branches": list(self.branches), "seeds": list(self.seeds)}
        return digest(self.identity() | more)

    def key(self, branch: str, seed: int) -> str:
        """Return the hash that the records of one branch and seed have, however many levels are asked for."""
        return digest(self.identity() | {"branch": branch, "seed": seed})

    def each(self) -> Iterator[Experiment]:
        """Yield an experiment for each branch and seed, to be run one by one in the same folder."""
        for seed in self.seeds:
            for branch in self.branches:
                yield replace(self, branches=(branch,), seeds=(seed,))

    def training(self, seed: int) -> TrainingSettings:
        """Return the settings of a training from ``seed``."""
        return replace(self.settings, seed=seed)

    @property
    def rewinds_weights(self) -> bool:
        """Whether weights are rewound, not the learning rate alone."""
        return self.rewind != LEARNING_RATE

    @property
    def source(self) -> Data | Callable[[], Any]:
        """The loaders, or what makes them."""
        return cast("Data | Callable[[], Any]", self.data)

    def total_steps(self, data: Data) -> int:
        """Return the optimizer steps of a training on ``data``; raises TrainingError if it has no length."""
        if not isinstance(data.train, Sized) or not len(data.train):
            raise TrainingError(
                f"The training loader of data {data.name!r} has no length or no batch. Give a DataLoader, or "
                f"a list of batches."
            )
        return self.settings.epochs * math.ceil(len(data.train) / self.settings.accumulate)

    def rewind_step(self, total_steps: int) -> int:
        """Return the step to rewind to in trainings of ``total_steps``.

        Raises:
            SettingError: there is no training left after it.
        """
        if not self.rewinds_weights:
            return 0
        rewind = self.rewind
        step = round(rewind * total_steps) if isinstance(rewind, float) else int(rewind)
        if step >= total_steps:
            raise SettingError(
                f"rewind={self.rewind!r} is step {step}, but a training has {total_steps} steps; rewind to "
                f"an earlier one, such as 0.05 of the run."
            )
        return step


def _check_network(network: Any) -> None:
    if isinstance(network, str):
        if network not in network_names():
            raise SettingError(
                f"network={network!r} is not an untrained network of the zoo; there are: "
                f"{', '.join(network_names())}. A network of your own is given as the function that makes it."
            )
    elif not callable(network) or isinstance(network, nn.Module):
        raise SettingError(
            f"network= is a name or a function that returns a new network, got a {type(network).__name__}: "
            f"one network cannot be drawn again with fresh weights."
        )


def _check_fraction(name: str, value: Any, *, least_allowed: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (0 <= value < 1 if least_allowed else 0 < value < 1):
        raise SettingError(f"{name} of what is left goes at each level, between 0 and 1, got {value!r}.")


def _check_allocation(choice: Any) -> None:
    allocation = allocations[choice] if isinstance(choice, str) else choice
    if not callable(allocation) or hasattr(allocation, "prepared"):
        raise SettingError(
            f"allocation={choice!r} cannot be used level by level: expected global, uniform, erk, lamp or "
            f"a function (scores, kept) -> {{layer: kept of it}} that looks at nothing else."
        )


def _check_rewind(rewind: Any) -> None:
    if rewind == LEARNING_RATE:
        return
    number = isinstance(rewind, int | float) and not isinstance(rewind, bool)
    if not number or rewind < 0 or (isinstance(rewind, float) and not rewind < 1):
        raise SettingError(
            f"rewind is 0 (initialisation), a number of steps, a fraction of the run such as 0.05, or "
            f"{LEARNING_RATE!r}; got {rewind!r}."
        )


def _check_distinct(name: str, values: tuple[Any, ...]) -> None:
    if not values or len(set(values)) < len(values):
        raise SettingError(f"{name} are at least one, and none of them twice; got {values!r}.")
