"""The batches of a run: checked, shared out over the processes, the same in every repetition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader

from featherweight.errors import TrainingError
from featherweight.training.streams import drawn_apart


class Loaders:
    """Training and validation batches.

    A DataLoader's batch size is that of one process; its batches are dealt to the processes in turn. Anything
    else that has a length and can be iterated again and again works in a single process.

    Attributes:
        batches: training batches an epoch, on each process.
        validation_batches: validation batches, on each process; 0 without validation.
    """

    def __init__(
        self, train: Iterable[Any], validate: Iterable[Any] | None, accelerator: Accelerator
    ) -> None:
        """Check and prepare.

        Raises:
            TrainingError: a loader is empty, has no length, or cannot be dealt to several processes.
        """
        self._device = accelerator.device
        self._train, self.batches = _prepared("train", train, accelerator)
        self._validate, self.validation_batches = None, 0
        if validate is not None:
            self._validate, self.validation_batches = _prepared("validate", validate, accelerator)

    @property
    def validates(self) -> bool:
        """Whether there is a validation split."""
        return self._validate is not None

    def train(self, epoch: int, seed: int, skip: int = 0) -> Iterator[Any]:
        """Yield the training batches of ``epoch`` after the first ``skip``, on the device.

        Raises:
            TrainingError: there are more or fewer batches than the loader's length says.
        """
        _set_epoch(self._train, epoch)
        count = skip
        for batch in drawn_apart(self._train, seed, skip):
            count += 1
            if count > self.batches:
                break
            yield send_to_device(batch, self._device)
        if count != self.batches:
            more = "more" if count > self.batches else f"only {count}"
            raise TrainingError(
                f"The training loader says it has {self.batches} batches, but in epoch {epoch + 1} it gave "
                f"{more}. It must give the same number each time it is iterated."
            )

    def validate(self, epoch: int, seed: int) -> Iterator[Any]:
        """Yield the validation batches, on the device."""
        if self._validate is not None:
            _set_epoch(self._validate, epoch)
            for batch in drawn_apart(self._validate, seed):
                yield send_to_device(batch, self._device)


def _prepared(name: str, loader: Iterable[Any], accelerator: Accelerator) -> tuple[Iterable[Any], int]:
    _check_length(name, loader)
    if isinstance(loader, DataLoader):
        loader = accelerator.prepare_data_loader(loader)
    elif accelerator.num_processes > 1:
        raise TrainingError(
            f"With {accelerator.num_processes} processes {name} must be a torch DataLoader, which can be "
            f"dealt to them; got {type(loader).__name__}."
        )
    return loader, _check_length(name, loader)


def _check_length(name: str, loader: Iterable[Any]) -> int:
    try:
        length = len(loader)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise TrainingError(
            f"{name} has no length ({type(loader).__name__}); the learning rate needs the number of batches. "
            f"Pass a DataLoader or a list of batches."
        ) from None
    if length == 0:
        raise TrainingError(
            f"{name} has no batch. Is the data set smaller than the batch size, with drop_last=True?"
        )
    return length


def _set_epoch(loader: Any, epoch: int) -> None:
    """Tell the loader (Accelerate's tells its sampler) and the data set which epoch it is."""
    for owner in (loader, getattr(loader, "dataset", None)):
        method = getattr(owner, "set_epoch", None)
        if callable(method):
            method(epoch)
