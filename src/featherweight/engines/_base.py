"""What an engine is: ``(file, threads) -> a loaded network``. One file an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherweight._registry import Registry

Array = NDArray[Any]


@dataclass(frozen=True)
class InputSpec:
    """An input of a network.

    Attributes:
        name: of it.
        dtype: numpy's name of its type.
        shape: its sizes; None where any will do.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def example(self, source: np.random.Generator, batch: int = 1) -> Array:
        """Return noise, or ones for whole numbers; ``batch`` for an unknown first size, 1 for others."""
        shape = [size or (1 if place else batch) for place, size in enumerate(self.shape)]
        if np.issubdtype(np.dtype(self.dtype), np.floating):
            return source.standard_normal(shape).astype(self.dtype)
        return np.ones(shape, self.dtype)


@dataclass(frozen=True)
class Loaded:
    """A network that an engine has ready.

    Attributes:
        inputs: what it takes, in order.
        run: ``(arrays in that order) -> outputs in order``.
    """

    inputs: tuple[InputSpec, ...]
    run: Callable[[Sequence[Array]], list[Array]]


@dataclass(frozen=True)
class Engine:
    """Something that runs a network.

    Attributes:
        title: its name in tables.
        suffixes: what the files that it takes end in.
        load: ``(file, threads) -> network``; the engine keeps to so many threads, and to fp32.
        version: of it, for records.
    """

    title: str
    suffixes: tuple[str, ...]
    load: Callable[[Path, int], Loaded]
    version: Callable[[], str]


engines: Registry[Engine] = Registry("engine")


def as_arrays(outputs: Any) -> list[Array]:
    """Return outputs as a list of arrays."""
    several = outputs if isinstance(outputs, list | tuple) else [outputs]  # pyright: ignore
    return [np.asarray(output) for output in several]  # pyright: ignore


def sizes(shape: Sequence[Any]) -> tuple[int | None, ...]:
    """Return a shape with None for what is no number."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in shape)
