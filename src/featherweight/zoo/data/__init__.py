"""Data sets with checksums and fixed train / validation / test splits; importing this registers them all."""

from featherweight.zoo.data import cifar10, digits, fashion_mnist, imdb, mnist
from featherweight.zoo.data.splits import ImageSet, Splits

__all__ = ["ImageSet", "Splits", "cifar10", "digits", "fashion_mnist", "imdb", "mnist"]
