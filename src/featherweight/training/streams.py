"""Streams of random numbers: what an epoch draws is decided by the seed and the epoch, and by nothing else.

Loading data and running the model draw from two separate streams of torch's CPU generator. A run that is
resumed within an epoch draws the batches before its position again, without computing on them: the data
stream arrives where it was, whatever the loader draws (order, augmentation, seeds of workers), and the
stream of the model (dropout) is set from the checkpoint. Python's and NumPy's global generators are seeded at
the start of an epoch and shared.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

_EPOCHS = 100_003  # seeds of neighbouring runs are this far apart: no two epochs of them share a seed
_RANKS = 1 << 40
_DATA = 1 << 60


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Return the seed of one epoch on one process."""
    return seed * _EPOCHS + epoch + rank * _RANKS


def seed_all(seed: int) -> None:
    """Seed the global generators of torch (all devices), NumPy and Python."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % (1 << 32))


def model_stream(device: torch.device) -> list[Tensor]:
    """Return the states of the generators that a model on ``device`` draws from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_model_stream(states: list[Tensor], device: torch.device) -> None:
    """Go on from ``states``, as returned by ``model_stream``."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def drawn_apart(loader: Iterable[Any], seed: int, skip: int = 0) -> Iterator[Any]:
    """Yield the items of ``loader`` after the first ``skip``, drawn from a stream of their own."""
    stream = _Stream((seed + _DATA) % (1 << 63))
    with stream:
        iterator = iter(loader)
    while True:
        with stream:
            try:
                item = next(iterator)
            except StopIteration:
                return
        if skip > 0:
            skip -= 1
        else:
            yield item


class _Stream:
    """A stream of torch's CPU generator that goes on from block to block, apart from what runs in between."""

    def __init__(self, seed: int) -> None:
        self._inside = torch.Generator().manual_seed(seed).get_state()

    def __enter__(self) -> None:
        self._outside = torch.get_rng_state()
        torch.set_rng_state(self._inside)

    def __exit__(self, *_: object) -> None:
        self._inside = torch.get_rng_state()
        torch.set_rng_state(self._outside)


@contextmanager
def preserved_generators(device: torch.device) -> Generator[None]:
    """Give the caller's global generators back as they were."""
    states = model_stream(device), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        set_model_stream(states[0], device)
        random.setstate(states[1])
        np.random.set_state(states[2])
