"""Small reference networks, trained weights and data sets for the demo, the course and the benchmarks."""

from featherweight.zoo import data, networks
from featherweight.zoo.build import build, network_names, options_of
from featherweight.zoo.cards import Card, card_of
from featherweight.zoo.data.splits import ImageSet, Splits
from featherweight.zoo.trained import (
    Loaders,
    default_loaders,
    load_data,
    load_model,
    loaders_of,
    trained_names,
)

__all__ = [
    "Card",
    "ImageSet",
    "Loaders",
    "Splits",
    "build",
    "card_of",
    "data",
    "default_loaders",
    "load_data",
    "load_model",
    "loaders_of",
    "network_names",
    "networks",
    "options_of",
    "trained_names",
]
