"""Data sets with checksums and fixed train / validation / test splits; importing this package registers all."""

from featherweight.zoo.data import fashion_mnist
from featherweight.zoo.data.splits import ImageSet, Splits

__all__ = ["ImageSet", "Splits", "fashion_mnist"]
