"""What is in a file, without decoding the weights."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from featherweight.artifact import codings
from featherweight.artifact.array import DTYPES
from featherweight.artifact.container import Header
from featherweight.artifact.manifest import Manifest, Row
from featherweight.artifact.reader import limit_of, opened, own_metadata, read_manifest
from featherweight.artifact.writer import METADATA_KEY


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file.

    Attributes:
        name: as in the state dict.
        dtype: what it is restored to.
        stored: what its values are on disk.
        shape: sizes.
        nonzeros: elements with a bit set; None in a plain safetensors file, where only decoding would tell.
        coding: ``"dense"``, ``"gap"``, ``"bitmask"``, ``"same"`` (another tensor under a second name) or
            ``"plain"`` (a plain safetensors file).
        index_bytes: positions on disk. Tensors share compressed streams, so this and ``value_bytes`` are the
            tensor's share of its stream by length, rounded: their sum is the stream's size but for rounding.
        value_bytes: values on disk, see ``index_bytes``.
    """

    name: str
    dtype: str
    stored: str
    shape: tuple[int, ...]
    nonzeros: int | None
    coding: str
    index_bytes: int
    value_bytes: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        product = 1
        for size in self.shape:
            product *= size
        return product

    @property
    def dense_bytes(self) -> int:
        """Bytes of the restored tensor."""
        return self.elements * DTYPES[self.dtype].width


@dataclass(frozen=True)
class FileInfo:
    """One file; ``compact`` is False for a plain safetensors file. Sizes in bytes."""

    path: Path
    compact: bool
    file_bytes: int
    manifest_bytes: int
    metadata: dict[str, str]
    tensors: tuple[TensorInfo, ...]


def inspect(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> FileInfo:
    """Return what ``path`` holds; reads header and manifest only. Raises as ``read`` does for these."""
    with opened(path) as (file, header, where):
        if METADATA_KEY not in header.metadata:
            return FileInfo(Path(path), False, header.size, header.body, header.metadata, _plain(header))
        manifest, size = read_manifest(file, header, limit_of(header, max_bytes), where)
    tensors = tuple(_info(row, manifest) for row in manifest.rows)
    return FileInfo(Path(path), True, header.size, header.body + size, own_metadata(header), tensors)


def _plain(header: Header) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(e.name, e.dtype, e.dtype, e.shape, None, "plain", 0, e.end - e.begin)
        for e in header.entries
    )


def _info(row: Row, manifest: Manifest) -> TensorInfo:
    shares = (0, 0)
    if row.coding != codings.SAME:
        shares = (_share(manifest, row.index, row.index_bytes), _share(manifest, row.values, row.kept))
    return TensorInfo(row.name, row.dtype, row.stored, row.shape, row.nonzeros, row.coding, *shares)


def _share(manifest: Manifest, stream: int, elements: int) -> int:
    if not elements:
        return 0
    return round(manifest.streams[stream].stored * elements / manifest.streams[stream].elements)
