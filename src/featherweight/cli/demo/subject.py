"""What the demo prunes: a trained network with its data; trained here where it does not come trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from featherweight.cli.output import remark, say
from featherweight.errors import DataError
from featherweight.training import TrainingSettings, fit
from featherweight.zoo import (
    Loaders,
    Splits,
    build,
    card_of,
    load_data,
    load_model,
    loaders_of,
    network_names,
    trained_names,
)

DEFAULT_DATA, FALLBACK_DATA = "fashion_mnist", "digits"
SMALL = 5_000  # training examples below which batches are smaller, so that an epoch has enough steps
SHOWN = 10_000  # examples shown in all when a network is trained here: seconds on the digits


@dataclass(frozen=True)
class Subject:
    """A trained network with its data.

    Attributes:
        network: as asked for.
        architecture: a name that ``featherweight.zoo.build`` takes.
        model: trained, in evaluation mode.
        splits: the data.
        loaders: loaders of the data.
    """

    network: str
    architecture: str
    model: nn.Module
    splits: Splits
    loaders: Loaders

    @property
    def metadata(self) -> dict[str, str]:
        """What a fresh process needs to build the same network, for the compact file."""
        return {"network": self.architecture} | {k: str(v) for k, v in sizes(self.splits).items()}


def make_subject(network: str, data: str, seed: int, runs: Path) -> Subject:
    """Return network ``network`` trained on ``data``, or on the digits where Fashion-MNIST cannot be had.

    Args:
        network: a trained network of the zoo, or an untrained one.
        data: a data set of the zoo; one that the network was not trained on has it trained here.
        seed: seed of training it here.
        runs: folder for the checkpoints of training it here.

    Raises:
        UnknownNameError: there is no such network or data set.
        DataError: a data set other than Fashion-MNIST cannot be had.
    """
    trained = load_model(network) if network in trained_names() or network not in network_names() else None
    splits = _load_splits(data)
    loaders = loaders_of(splits, 128 if len(splits.train) >= SMALL else 32)
    card = None if trained is None else card_of(trained)
    architecture = network if card is None else card.network
    if trained is not None and card is not None and card.data_set == splits.name:
        return Subject(network, architecture, trained, splits, loaders)
    model = _train(architecture, splits, loaders, seed, runs)
    return Subject(network, architecture, model, splits, loaders)


def sizes(splits: Splits) -> dict[str, int]:
    """Return the arguments of ``build`` for a network that takes these images."""
    classes = len(splits.classes)
    return {"in_channels": splits.in_channels, "classes": classes, "image_size": splits.image_size}


def _load_splits(data: str) -> Splits:
    try:
        return load_data(data)
    except DataError as error:
        if data != DEFAULT_DATA:
            raise
        remark(
            f"{error}\nThe demo uses {FALLBACK_DATA!r} instead, the small images that come with scikit-learn."
        )
        return load_data(FALLBACK_DATA)


def _train(architecture: str, splits: Splits, loaders: Loaders, seed: int, runs: Path) -> nn.Module:
    """Train a network of the zoo on ``splits``: no trained one comes with the package."""
    epochs = max(3, min(20, SHOWN // len(splits.train)))
    say(f"No {architecture} comes trained on {splits.name}: training it first, {epochs} epochs.")
    torch.manual_seed(seed)
    model = build(architecture, **sizes(splits))
    settings = TrainingSettings(epochs=epochs, learning_rate=0.1, seed=seed)
    run_dir = runs / f"{architecture}-{splits.name}-train-{seed}"
    fit(model, loaders.train, loaders.validate, settings, run_dir=run_dir, progress=False)
    return model.eval()
