"""Write a compact file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from featherweight.artifact import codings, parts, rounding
from featherweight.artifact.array import Array
from featherweight.artifact.atomic import replacing
from featherweight.artifact.container import build_header
from featherweight.artifact.errors import ManifestError
from featherweight.artifact.parts import Parts

METADATA_KEY = "featherweight"
VERSION = "1"
MANIFEST, STREAMS = "manifest", "streams"  # the two tensors of the safetensors file


@dataclass(frozen=True)
class WriteReport:
    """What was written; all sizes in bytes.

    Attributes:
        path: the file.
        file_bytes: its size.
        dense_bytes: the same tensors as they are, uncompressed, without any header.
        index_bytes: positions of the nonzeros, as written.
        index_limit_bytes: sum over the sparse tensors of log2 C(elements, nonzeros) / 8, the entropy limit.
        value_bytes: values, as written.
        manifest_bytes: names, shapes, sizes, and the header around all.
        tensors: how many, those that share another's values included.
        elements: of all tensors, shared ones once.
        nonzeros: of these, those with a bit set (-0.0 has one).
        negative_zeros: of these, those that are -0.0: kept, as all values are, but usually a pruning bug.
        unrounded: floating tensors that stayed as they were although fp16 or bf16 was asked for.
    """

    path: Path
    file_bytes: int
    dense_bytes: int
    index_bytes: int
    index_limit_bytes: float
    value_bytes: int
    manifest_bytes: int
    tensors: int
    elements: int
    nonzeros: int
    negative_zeros: int
    unrounded: tuple[str, ...]

    def __str__(self) -> str:
        ratio = self.dense_bytes / self.file_bytes
        zeros = 1 - self.nonzeros / self.elements if self.elements else 0.0
        return (
            f"{self.path}: {self.file_bytes:,} bytes, {ratio:.1f}x fewer than the {self.dense_bytes:,} bytes "
            f"of the dense values ({zeros:.1%} of {self.elements:,} are zero)"
        )


def write(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Array],
    *,
    values: rounding.Values = "fp32",
    metadata: Mapping[str, str] | None = None,
) -> WriteReport:
    """Write ``tensors`` to ``path``, whole or not at all.

    Args:
        path: the file; one that exists is replaced.
        tensors: by name, kept in this order. One Array under two names is written once.
        values: ``"fp32"`` writes every tensor bit for bit; ``"fp16"`` and ``"bf16"`` round F32 and F64
            tensors where no value is lost by it (see rounding.py).
        metadata: strings of your own by name, written as safetensors metadata.

    Raises:
        SettingError: ``values`` is none of the choices.
        ArtifactError: a name or the metadata cannot be written, or the folder does not exist.
    """
    rounding.check_values(values)
    own = _checked_metadata(metadata or {})
    _check_names(tensors)
    built = parts.build(tensors, values)
    manifest = built.manifest.to_bytes()
    sizes = {MANIFEST: len(manifest), STREAMS: sum(map(len, built.frames))}
    header = build_header({METADATA_KEY: VERSION, **own}, sizes)
    with replacing(path) as file:
        file.write(header)
        file.write(manifest)
        file.writelines(built.frames)
    return _report(Path(path), built, len(header) + len(manifest), values)


def _check_names(tensors: Mapping[str, Array]) -> None:
    for name in tensors:
        if not isinstance(name, str) or not _is_text(name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ManifestError(f"A tensor's name must be text that UTF-8 can hold, got {name!r}.")


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if key == METADATA_KEY:
            raise ManifestError(f"metadata: the key {key!r} is the format's own. Choose another.")
        if not _is_text(key) or not _is_text(value):
            raise ManifestError(f"metadata {key!r}: name and value must be text, got {type(value).__name__}.")
    return dict(metadata)


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(value.encode() or True)
    except UnicodeEncodeError:
        return False


def _report(path: Path, built: Parts, manifest_bytes: int, values: rounding.Values) -> WriteReport:
    rows = [row for row in built.manifest.rows if row.coding != codings.SAME]
    sparse = [row for row in rows if row.coding in codings.SPARSE]
    index_bytes, value_bytes = built.manifest.stored_bytes()
    return WriteReport(
        path=path,
        file_bytes=manifest_bytes + index_bytes + value_bytes,
        dense_bytes=sum(row.nbytes for row in rows),
        index_bytes=index_bytes,
        index_limit_bytes=sum(parts.entropy_limit(row.elements, row.nonzeros) for row in sparse) / 8,
        value_bytes=value_bytes,
        manifest_bytes=manifest_bytes,
        tensors=len(built.manifest.rows),
        elements=sum(row.elements for row in rows),
        nonzeros=sum(row.nonzeros for row in rows),
        negative_zeros=built.negative_zeros,
        unrounded=tuple(row.name for row in rows if values != "fp32" and row.stored in ("F32", "F64")),
    )
