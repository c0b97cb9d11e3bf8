"""Reading a cache: from the inputs of a batch to the views that the teacher would have given."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featherweight.distillation.cache.arrays import HEADER, mapped, path_of
from featherweight.distillation.cache.keys import keys_of, mask_of
from featherweight.distillation.cache.manifest import FILE, KEYS, WIDTHS, Identity, Manifest, refusal
from featherweight.distillation.losses import View
from featherweight.errors import DataError

Folder = str | os.PathLike[str]


class TeacherCache:
    """The outputs of a teacher for the examples of a data set, on disk; made by ``open`` or by filling one.

    Attributes:
        folder: where it is.
        manifest: what it is.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, keys: np.ndarray[Any, Any], arrays: list[np.ndarray[Any, Any]]
    ) -> None:
        """Take what ``open`` has checked."""
        self.folder, self.manifest = folder, manifest
        self._arrays = arrays
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    @classmethod
    def open(cls, folder: Folder, identity: Identity | None = None) -> TeacherCache:
        """Open the cache in ``folder``; arrays are memory-mapped, and read when they are needed.

        Args:
            folder: that it was filled into.
            identity: of the teacher whose outputs are wanted; None: any.

        Raises:
            DataError: there is none, it is not complete, damaged, or of another teacher or other taps.
        """
        folder = Path(folder)
        check_is_there(folder)
        manifest = Manifest.read(folder)
        if not manifest.complete:
            raise refusal(folder, "not complete: filling it was interrupted")
        if identity is not None:
            manifest.check_identity(identity, folder)
        kind, rows = number_type(manifest.dtype), manifest.examples
        try:
            keys = np.array(mapped(path_of(folder, KEYS), "<i8", (rows,)))
            arrays = [
                mapped(path_of(folder, name), kind, (rows, *shape))
                for name, shape in zip(manifest.layout.names, manifest.layout.shapes, strict=True)
            ]
            if zlib.crc32(keys.data.cast("B") if rows else b"") != dict(manifest.checksums)[KEYS]:
                raise DataError(f"The checksum of {KEYS}.npy does not match.")
        except DataError as error:
            raise refusal(folder, f"damaged: {error}") from error
        return cls(folder, manifest, keys, arrays)

    def __len__(self) -> int:
        return self.manifest.examples

    def views(self, inputs: Any) -> tuple[View, ...]:
        """Return what the teacher makes of ``inputs``, in float32 on their device.

        Args:
            inputs: what the teacher would be called with, without labels.

        Raises:
            DataError: the cache was not made of these examples.
        """
        keys = keys_of(inputs)
        rows = self._rows(keys.cpu().numpy())
        self._check_tokens(inputs)
        return self.manifest.layout.assemble(
            [self._gather(array, rows, keys.device) for array in self._arrays]
        )

    def verify(self) -> None:
        """Read every array and compare its checksum; raises DataError where one does not match."""
        checksums = dict(self.manifest.checksums)
        for name in self.manifest.layout.names:
            if _checksum(path_of(self.folder, name)) != checksums[name]:
                raise refusal(self.folder, f"damaged: the checksum of {name}.npy does not match")

    def _rows(self, keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        places = np.searchsorted(self._sorted, keys)
        places[places == len(self._sorted)] = 0
        missing = np.flatnonzero(self._sorted[places] != keys)
        if len(missing):
            raise DataError(
                f"{len(missing)} of the {len(keys)} examples of this batch (the first is number "
                f"{missing[0]}) are not among the {len(self):,} that the cache in {str(self.folder)!r} was "
                f"made of. It finds an example by the exact values of its inputs, so that data augmented "
                f"afresh at each epoch cannot be cached. Train on the data as they were cached; fill the "
                f"cache anew if they have changed (delete it, or pass fill_cache overwrite=True); cache a "
                f"number of augmented copies (epochs= of fill_cache, of a data set that has set_epoch); or "
                f"train without cache=."
            )
        return self._order[places]

    def _check_tokens(self, inputs: Any) -> None:
        mask, tokens = mask_of(inputs), self.manifest.tokens
        if mask is not None and tokens is not None and mask.shape[1] != tokens:
            raise DataError(
                f"The cache in {str(self.folder)!r} has outputs for each of {tokens} tokens, and this batch "
                f"has sequences of {mask.shape[1]}. Pad them to {tokens}, as when the cache was filled."
            )

    @staticmethod
    def _gather(array: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], device: torch.device) -> Tensor:
        return torch.from_numpy(array[rows]).to(device).float()


def check_is_there(folder: Path) -> None:
    """Raise DataError where ``folder`` holds no cache; says whether one was begun."""
    if (folder / FILE).exists():
        return
    if (partial_of(folder) / FILE).exists():
        raise DataError(
            f"The cache in {str(folder)!r} is not complete: filling it was interrupted. Fill it again, with "
            f"the same teacher and data, to go on from there."
        )
    raise DataError(f"There is no cache in {str(folder)!r}: fill one first, or give the folder of one.")


def partial_of(folder: Path) -> Path:
    """Return the folder in which the cache of ``folder`` is built."""
    return folder.with_name(f".{folder.name}.partial")


def number_type(dtype: str) -> str:
    """Return NumPy's name of "fp16" or "fp32", little-endian."""
    return f"<f{WIDTHS[dtype]}"


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        file.seek(HEADER)
        while piece := file.read(1 << 22):
            total = zlib.crc32(piece, total)
    return total
