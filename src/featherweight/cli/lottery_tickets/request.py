"""What ``featherweight lottery`` is asked for, as an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from featherweight.cli.batches import make_batches
from featherweight.cli.network import FORMS
from featherweight.cli.resolve import call_factory, is_factory, name_and_options
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.lottery import Data, Experiment, ZooData
from featherweight.sparsity.lottery.data import data_of
from featherweight.sparsity.lottery.experiment import BRANCHES, LEARNING_RATE
from featherweight.training import TrainingSettings
from featherweight.zoo import build, network_names

_TRAINING = ("epochs", "learning_rate", "rate", "optimizer", "weight_decay", "precision")


@dataclass(frozen=True)
class NamedNetwork:
    """A network as the command line names it; called, a new one with fresh weights.

    Attributes:
        spec: module:factory, file.py:factory, or a network of the zoo, with options or without.
        data: what it is to be trained on: a network of the zoo fits itself to a data set of the zoo.

    Raises:
        SettingError: the zoo has no untrained network of that name.
    """

    spec: str
    data: Any

    def __post_init__(self) -> None:
        if not is_factory(self.spec) and name_and_options(self.spec)[0] not in network_names():
            raise SettingError(
                f"--network {self.spec!r} is not an untrained network of the zoo; there are: "
                f"{', '.join(network_names())}. {FORMS}"
            )

    def identity(self) -> dict[str, str]:
        """Return the name: the data have their own place in the hash."""
        return {"spec": self.spec}

    def __call__(self) -> nn.Module:
        """Make it."""
        if not is_factory(self.spec):
            name, options = name_and_options(self.spec)
            return build(name, **{**dict(data_of(self.data).form), **options})
        model = call_factory(self.spec, "model")
        if not isinstance(model, nn.Module):
            raise ModelError(f"{self.spec!r} returned a {type(model).__name__}, expected a torch.nn.Module.")
        return model


@dataclass(frozen=True)
class NamedData:
    """Loaders of the user's own factory, by its name; called, the loaders."""

    spec: str

    def __call__(self) -> Data:
        """Make them."""
        batches = make_batches(self.spec)
        return Data(self.spec, batches.train, batches.validate, batches.test)


def experiment_of(asked: Mapping[str, Any]) -> Experiment:
    """Return the experiment of a command, by the names of its options; None: not given.

    Raises:
        SettingError: a setting is wrong, or would do nothing.
    """
    given = {name: asked[name] for name in _TRAINING if asked[name] is not None}
    data = _data(asked)
    return Experiment(
        network=NamedNetwork(asked["network"], data),
        data=data,
        levels=asked["levels"],
        fraction=asked["fraction"],
        output_fraction=asked["output_fraction"],
        rewind=_rewind(asked["rewind"]),
        branches=tuple(asked["branch"] or BRANCHES),
        seeds=_seeds(asked["seeds"]),
        settings=TrainingSettings(**given),
        allocation=asked["allocation"],
        skip=tuple(asked["skip"] or ()),
    )


def _data(asked: Mapping[str, Any]) -> ZooData | NamedData:
    spec: str = asked["data"]
    if not is_factory(spec):
        size = {} if asked["batch_size"] is None else {"batch_size": asked["batch_size"]}
        return ZooData(spec, augment=asked["augment"], **size)
    for name in ("batch_size", "augment"):
        if asked[name]:
            option = f"--{name.replace('_', '-')}"
            raise SettingError(f"{option} would do nothing: the loaders of {spec!r} have their own.")
    return NamedData(spec)


def _rewind(text: str) -> int | float | str:
    if text.isdecimal():
        return int(text)
    try:
        return float(text)
    except ValueError:
        return LEARNING_RATE if text.replace("-", " ").replace("_", " ") == LEARNING_RATE else text


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise SettingError(f"--seeds is whole numbers with commas, such as 0,1,2; got {text!r}.")
    return tuple(int(part) for part in parts)
