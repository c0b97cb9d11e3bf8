"""The data that a cache is filled from: every example, in the order of the data set, as often as wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, IterableDataset

from featherweight.distillation.cache.keys import keys_of
from featherweight.errors import DataError, SettingError

_PROBED = 64  # examples that are fetched twice
Inputs = Callable[[Any], Any]


class Passes:
    """Passes over a data set.

    Of a DataLoader, the data set is gone through in order, in batches of the loader's size, with its
    ``collate_fn`` and workers, and to the end. Anything else that has a length is iterated as it is.

    Attributes:
        batches: in each pass.
        examples: in each pass; None: not known.
        batch_size: of a DataLoader; None: not known.
    """

    def __init__(self, loader: Iterable[Any], epochs: int = 1) -> None:
        """Take a loader.

        Raises:
            SettingError: ``epochs`` is below 1, or above it where each pass would give the same.
            DataError: there is no batch, or the loader has no length.
        """
        if not isinstance(epochs, int) or epochs < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingError(f"epochs is a whole number of at least 1, got {epochs!r}.")
        self.epochs, self._loader = epochs, loader
        if epochs > 1 and not list(self._owners()):
            raise SettingError(
                f"epochs={epochs} caches that many augmented copies of a data set that is told its epoch, "
                f"and neither the loader nor its data set has a method set_epoch(epoch). Add one, or use "
                f"epochs=1."
            )
        self.batch_size = _batch_size(loader)
        self.examples = None if self.batch_size is None else len(cast(Sized, cast(Any, loader).dataset))
        self.batches = self._count()

    def batches_of(self, epoch: int, skip: int = 0) -> Iterator[Any]:
        """Yield the batches of pass ``epoch`` (from 0) after the first ``skip``."""
        for owner in self._owners():
            owner.set_epoch(epoch)
        if self.batch_size is None:
            yield from islice(iter(self._loader), skip, None)
        else:
            yield from _in_order(cast("DataLoader[Any]", self._loader), self.batch_size, skip)

    def first(self, inputs_of: Inputs) -> Any:
        """Return the first batch.

        Args:
            inputs_of: batch -> what the teacher is given.

        Raises:
            DataError: a second look at the first examples shows others.
        """
        first, seen = None, 0
        for once, again in zip(self.batches_of(0), self.batches_of(0), strict=False):
            first = once if first is None else first
            keys, others = keys_of(inputs_of(once)), keys_of(inputs_of(again))
            if not torch.equal(keys, others):
                raise DataError(
                    "The same examples, fetched twice, differ: the data are augmented at random or shuffled, "
                    "and what differs at each epoch cannot be cached. Cache the data without augmentation "
                    "and train on them; or fix the augmentation by epoch and example, in a data set with "
                    "set_epoch(epoch), and cache a number of copies (epochs=); or train without a cache."
                )
            seen += len(keys)
            if seen >= _PROBED:
                break
        if first is None:
            raise DataError("The loader has no batch: there is nothing to cache.")
        return first

    def check_repeated(self, inputs_of: Inputs) -> None:
        """Raise DataError where the next epoch after those that are cached shows other first examples."""
        if not list(self._owners()):
            return
        one, next_one = (next(iter(self.batches_of(epoch)), None) for epoch in (0, self.epochs))
        if one is None or torch.equal(keys_of(inputs_of(one)), keys_of(inputs_of(next_one))):
            return
        raise DataError(
            "The data are augmented afresh in every epoch (set_epoch gives the first examples another form), "
            "and the cache would hold those of the first epoch alone. Train without a cache, on data without "
            "augmentation, or on a data set that holds a fixed number of augmented copies."
        )

    def _owners(self) -> Iterator[Any]:
        for owner in (self._loader, getattr(self._loader, "dataset", None)):
            if callable(getattr(owner, "set_epoch", None)):
                yield owner

    def _count(self) -> int:
        if self.examples is not None and self.batch_size is not None:
            return -(-self.examples // self.batch_size)
        try:
            return len(cast(Sized, self._loader))
        except TypeError:
            raise DataError(
                f"The loader has no length ({type(self._loader).__name__}): a cache is filled from a "
                f"DataLoader or a list of batches, which can be gone through twice."
            ) from None


def _batch_size(loader: Iterable[Any]) -> int | None:
    """Return the batch size of a DataLoader over a data set with numbered examples; None for others."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    if loader.batch_size is not None:
        return loader.batch_size
    sampler = getattr(loader, "batch_sampler", None)
    return None if sampler is None else int(getattr(sampler, "batch_size", 0) or 32)


def _in_order(loader: DataLoader[Any], batch_size: int, skip: int) -> DataLoader[Any]:
    return DataLoader(
        loader.dataset,
        batch_size=batch_size,
        sampler=range(skip * batch_size, len(cast(Sized, loader.dataset))),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
    )
