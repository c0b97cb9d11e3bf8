"""Trained networks, and the loaders of the data they were trained on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, overload

from torch import nn
from torch.utils.data import DataLoader

from featherweight import artifact
from featherweight.core.prunable import unwrap
from featherweight.errors import SettingError, UnknownNameError
from featherweight.zoo._registry import data_sets
from featherweight.zoo.build import build
from featherweight.zoo.cards import Card, card_of
from featherweight.zoo.data.splits import Batch, Splits

WEIGHTS = Path(__file__).parent / "weights"
Module = TypeVar("Module", bound=nn.Module)


def trained_names() -> tuple[str, ...]:
    """Return the names of the trained networks that come with the package."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


@overload
def load_model(name: str | os.PathLike[str]) -> nn.Module: ...
@overload
def load_model(name: str | os.PathLike[str], *, into: Module) -> Module: ...
def load_model(name: str | os.PathLike[str], *, into: nn.Module | None = None) -> nn.Module:
    """Return a trained network in evaluation mode.

    Args:
        name: a trained network of the zoo ("fashion_cnn"), or the path of a safetensors file.
        into: a module of the class that the file is of; needed with a path. It is filled and returned.

    Raises:
        UnknownNameError: the zoo has no such network.
        SettingError: a path without ``into``, or a name with it.
        ModelError: the weights do not fit ``into``, which is not changed.
        ArtifactError: the file cannot be read.
    """
    # Not above: structured pruning measures with profile, and that knows the data of the zoo's networks.
    from featherweight.structured.checkpoint import load

    if into is not None:
        return load(name, into=into).eval()
    if str(name).endswith(".safetensors") or os.sep in str(name):
        raise SettingError(f"A file holds weights, not a class: load_model({str(name)!r}, into=MyNetwork()).")
    path = WEIGHTS / f"{name}.safetensors"
    if not path.exists():
        choices = ", ".join(trained_names())
        raise UnknownNameError(f"No trained network is called {str(name)!r}. There are: {choices}.")
    card = Card.from_json(artifact.inspect(path).metadata["card"])
    model = build(card.network, in_channels=card.in_channels, classes=card.classes)
    model.card = card  # pyright: ignore[reportArgumentType] - a plain attribute; deepcopy takes it along
    return load(path, into=model).eval()


def load_data(name: str) -> Splits:
    """Return a data set with its fixed splits: "fashion_mnist", "mnist", "cifar10" or "digits".

    Raises:
        UnknownNameError: there is no such data set.
        DataError: its files cannot be had here, or are damaged; says what to do.
    """
    return data_sets[name]()


@dataclass(frozen=True)
class Loaders:
    """Loaders of the three splits of a data set."""

    train: DataLoader[Batch]
    validate: DataLoader[Batch]
    test: DataLoader[Batch]


def loaders_of(splits: Splits, batch_size: int = 128) -> Loaders:
    """Return loaders of ``splits``: train shuffled in full batches of ``batch_size``, the others in order."""
    train = splits.train.loader(batch_size, shuffle=True, drop_last=len(splits.train) >= batch_size)
    return Loaders(train, splits.validation.loader(500), splits.test.loader(500))


def default_loaders(model: nn.Module) -> Loaders:
    """Return the loaders of the data that a model of the zoo was trained on.

    Raises:
        SettingError: ``model`` is not from ``load_model``, so that its data are not known.
        DataError: the data cannot be had here.
    """
    card = card_of(unwrap(model))
    if card is None:
        raise SettingError(
            f"{type(model).__name__} has no data of its own: pass loaders. (Only a network from "
            f"fw.load_model(name) knows its data.)"
        )
    return loaders_of(load_data(card.data_set))
