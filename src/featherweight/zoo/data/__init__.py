"""Data sets with checksums and fixed train / validation / test splits."""

from featherweight.zoo.data.splits import ImageSet, Splits

__all__ = ["ImageSet", "Splits"]
