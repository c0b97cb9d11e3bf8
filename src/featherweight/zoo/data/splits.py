"""Images held in memory, their fixed splits, and the loaders that batch and augment them.

Whole batches are fetched and augmented at once (``__getitems__``), which on a small image costs a
hundredth of doing it example by example. Augmentation draws from a generator that is seeded by
(seed, epoch, first index of the batch) and by nothing else, so a resumed run sees what the
uninterrupted run would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

Batch = tuple[Tensor, Tensor]


@dataclass
class ImageSet(Dataset[Batch]):
    """Images and labels of one split.

    Attributes:
        images: (n, channels, height, width) uint8.
        labels: (n,) int64.
        mean: (channels,) mean of the training images, in 0..1.
        std: (channels,) standard deviation of the training images, in 0..1.
        augment: random horizontal flip (where ``flip``) and shift by up to ``shift`` pixels.
        flip: whether mirroring keeps the label (clothes: yes, digits: no).
        shift: largest shift in pixels.
        seed: seed of the augmentation.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    augment: bool = False
    flip: bool = True
    shift: int = 2
    seed: int = 0
    epoch: int = field(default=0, compare=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the normalised batch ((b, channels, height, width) float32, (b,) int64)."""
        chosen = torch.as_tensor(indices)
        images = self.images[chosen]
        if self.augment:
            images = self._augmented(images, int(chosen[0]))
        shape = (1, -1, 1, 1)
        images = (images.float() / 255 - self.mean.view(shape)) / self.std.view(shape)
        return images, self.labels[chosen]

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass draw the augmentation of epoch ``epoch``."""
        self.epoch = epoch

    def _augmented(self, images: Tensor, first: int) -> Tensor:
        rng = torch.Generator().manual_seed(hash((self.seed, self.epoch, first)) & 0x7FFF_FFFF_FFFF_FFFF)
        count, _, height, width = images.shape
        if self.flip:
            mirrored = torch.rand(count, generator=rng) < 0.5
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        padded = F.pad(images, (self.shift,) * 4)
        top, left = torch.randint(0, 2 * self.shift + 1, (2, count, 1), generator=rng)
        rows = (top + torch.arange(height)).view(count, 1, height, 1)
        cols = (left + torch.arange(width)).view(count, 1, 1, width)
        which = torch.arange(count).view(count, 1, 1, 1)
        channels = torch.arange(images.shape[1]).view(1, -1, 1, 1)
        return padded[which, channels, rows, cols]

    def subset(self, indices: Tensor | Sequence[int]) -> ImageSet:
        """Return the examples at ``indices``, in that order."""
        chosen = torch.as_tensor(indices)
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])

    def loader(
        self, batch_size: int = 128, *, shuffle: bool = False, drop_last: bool = False
    ) -> DataLoader[Batch]:
        """Return a DataLoader over this split (in the calling process: batching is already cheap)."""
        return DataLoader(self, batch_size, shuffle=shuffle, drop_last=drop_last, collate_fn=_as_fetched)


def _as_fetched(batch: Any) -> Any:
    return batch  # a whole batch already: __getitems__ made it


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set; every choice is made on ``validation``, ``test`` is read once.

    Attributes:
        name: name of the data set, as in the registry.
        train: training images, augmented.
        validation: a fixed part of the official training images, not augmented.
        test: the official test images, not augmented.
        classes: names of the classes.
        source: where the files came from, in words.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    source: str

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return self.train.images.shape[1]

    @property
    def image_size(self) -> int:
        """Height and width of an image, pixels."""
        return self.train.images.shape[-1]


def split(
    name: str,
    train: Batch,
    test: Batch,
    *,
    validation: int,
    classes: Sequence[str],
    source: str,
    flip: bool,
    shift: int = 2,
) -> Splits:
    """Split official training data into train and validation with a fixed seed.

    Args:
        name: name of the data set.
        train: ((n, c, h, w) uint8, (n,) int64) official training data.
        test: the official test data, same form.
        validation: number of training examples set aside for choices.
        classes: names of the classes.
        source: where the files came from.
        flip: whether mirrored images keep their label.
        shift: largest shift of the augmentation, pixels.
    """
    order = torch.randperm(len(train[1]), generator=torch.Generator().manual_seed(0))
    kept, aside = order[validation:], order[:validation]
    mean, std = _statistics(train[0][kept])

    def part(data: Batch, chosen: Tensor, augment: bool) -> ImageSet:
        return ImageSet(data[0][chosen], data[1][chosen], mean, std, augment=augment, flip=flip, shift=shift)

    everything = torch.arange(len(test[1]))
    return Splits(
        name,
        train=part(train, kept, augment=True),
        validation=part(train, aside, augment=False),
        test=part(test, everything, augment=False),
        classes=tuple(classes),
        source=source,
    )


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation a channel, in 0..1, of images (n, c, h, w) uint8.

    From the counts of the 256 values: exact, and without the images as floating point, which are gigabytes.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        counts = torch.bincount(channel.flatten(), minlength=256).double()
        mean = (counts * values).sum() / counts.sum()
        means.append(mean)
        stds.append(((counts * (values - mean) ** 2).sum() / (counts.sum() - 1)).sqrt())
    return torch.stack(means).float(), torch.stack(stds).float()
