"""Writing a cache: in a folder of its own, which takes the cache's name when it is complete."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featherweight.distillation.cache.arrays import GrowingArray, path_of
from featherweight.distillation.cache.keys import keys_of
from featherweight.distillation.cache.manifest import FILE, KEYS, Manifest
from featherweight.distillation.cache.store import number_type, partial_of
from featherweight.errors import DataError

_TYPES = {"fp16": torch.float16, "fp32": torch.float32}


class Writer:
    """A cache that grows by batches; an example that is in it already is not written again.

    Attributes:
        manifest: how far it is, as of the last ``commit``.
        batches: that are done, committed or not.
        keys: of all examples in it.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Go on from ``manifest`` in the folder that ``building`` has made for the cache in ``folder``.

        Raises:
            DataError: the arrays hold less than the manifest says.
        """
        self.folder, self._building = folder, partial_of(folder)
        self.manifest, self.batches = manifest, manifest.batches
        self._arrays: dict[str, GrowingArray] = {}
        try:
            for name, shape in [*zip(manifest.layout.names, manifest.layout.shapes, strict=True), (KEYS, ())]:
                self._arrays[name] = self._open(name, shape)
            self.keys: set[int] = set(self._arrays[KEYS].read().tolist())
        except (OSError, DataError) as error:
            self.close()
            raise DataError(
                f"What an interrupted run has left of the cache in {str(folder)!r} is damaged ({error}). "
                f"To begin anew delete {str(self._building)!r}, or pass fill_cache overwrite=True."
            ) from error

    def add(self, inputs: Any, tensors: Sequence[Tensor]) -> None:
        """Append the outputs of one batch.

        Args:
            inputs: of the teacher.
            tensors: (n, ...) each, one per array of the layout.

        Raises:
            DataError: a value is not finite or too large for the cache's dtype, or the disk is full.
        """
        rows = {int(key): at for at, key in reversed(list(enumerate(keys_of(inputs).tolist())))}
        fresh = sorted(at for key, at in rows.items() if key not in self.keys)
        names = self.manifest.layout.names
        stored = [self._stored(name, x, fresh) for name, x in zip(names, tensors, strict=True)]
        by_row = {at: key for key, at in rows.items()}
        keys = np.array([by_row[at] for at in fresh], np.int64)
        try:
            for name, values in zip([*names, KEYS], [*stored, keys], strict=True):
                self._arrays[name].append(values)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        self.keys.update(keys.tolist())
        self.batches += 1

    def commit(self) -> None:
        """Have all that was added on the disk, so that a run that dies now goes on from here."""
        try:
            for array in self._arrays.values():
                array.sync()
            self.manifest = self._now()
            self.manifest.write(self._building)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def finish(self) -> None:
        """Complete the cache, and give it its name; another cache of that name is deleted."""
        for array in self._arrays.values():
            array.finish()
        self.manifest = replace(self._now(), complete=True)
        self.manifest.write(self._building)
        self.close()
        old = self.folder.with_name(f".{self.folder.name}.old")
        if self.folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(self.folder, old)
        os.rename(self._building, self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        """Close the files."""
        for array in self._arrays.values():
            array.close()

    def _open(self, name: str, shape: tuple[int, ...]) -> GrowingArray:
        kind = "<i8" if name == KEYS else number_type(self.manifest.dtype)
        checksum = dict(self.manifest.checksums).get(name, 0)
        return GrowingArray(path_of(self._building, name), kind, shape, self.manifest.examples, checksum)

    def _now(self) -> Manifest:
        sums = tuple((name, array.checksum) for name, array in self._arrays.items())
        rows = self._arrays[KEYS].rows
        return replace(self.manifest, examples=rows, batches=self.batches, checksums=sums)

    def _stored(self, name: str, tensor: Tensor, rows: list[int]) -> np.ndarray[Any, Any]:
        """Return ``rows`` of ``tensor`` in the type of the cache."""
        tensor = tensor.detach()
        if len(rows) < len(tensor):
            tensor = tensor[torch.tensor(rows, dtype=torch.long, device=tensor.device)]
        stored = tensor.to(_TYPES[self.manifest.dtype])
        if not bool(stored.isfinite().all()):
            raise self._out_of_range(name, tensor)
        return stored.cpu().numpy()

    def _out_of_range(self, name: str, tensor: Tensor) -> DataError:
        if not bool(tensor.isfinite().all()):
            return DataError(
                f"Output {name!r} of the teacher is not finite in batch {self.batches + 1}: there is nothing "
                f"to learn from. Look for inputs that are not finite."
            )
        return DataError(
            f"Output {name!r} of the teacher reaches {float(tensor.abs().max()):.4g} in batch "
            f"{self.batches + 1}, beyond the {torch.finfo(_TYPES[self.manifest.dtype]).max:.4g} of "
            f"{self.manifest.dtype}. "
            f'Fill the cache with dtype="fp32", which takes twice the space.'
        )


@contextlib.contextmanager
def building(folder: Path) -> Generator[Path]:
    """Make the folder in which the cache of ``folder`` is built, and keep other processes from it.

    One that comes second waits, and finds the cache complete, or goes on where the first was interrupted. A
    folder in which nothing was committed is removed again.
    """
    place = partial_of(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        handle = os.open(place, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        place.mkdir(exist_ok=True)  # the process that was waited for has given it the cache's name
        yield place
    finally:
        if place.exists() and not (place / FILE).exists():
            shutil.rmtree(place, ignore_errors=True)
        os.close(handle)


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"Cannot write the cache in {str(folder)!r}: {error.strerror}. Free space, or choose another."
    )
