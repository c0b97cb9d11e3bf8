"""Where the files of data sets are looked for, how they are checked, and how they are fetched.

Checksums are of the uncompressed content, since distributions compress the same files differently. A
download is checked before it is put in place, so that the cache never holds half a file.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from featherweight.artifact.atomic import replacing
from featherweight.errors import DataError

MOST_BYTES = 1 << 30  # of one file, uncompressed: far above any here, far below what fills a machine


def cache_folder() -> Path:
    """Return the folder that downloads are kept in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "featherweight"


def data_folders(name: str, others: Sequence[str] = ()) -> Iterator[Path]:
    """Yield the folders that may hold data set ``name``: $FEATHERWEIGHT_DATA, the cache, then ``others``.

    Of ``others``, ``{cache}`` stands for the cache of this data set.
    """
    cache = cache_folder() / name
    if root := os.environ.get("FEATHERWEIGHT_DATA"):
        yield Path(root).expanduser() / name
        yield Path(root).expanduser()
    yield cache
    for other in others:
        yield Path(other.format(cache=cache)).expanduser()


def read_content(path: Path, sha256: str | None = None) -> bytes:
    """Return what is in a file, unzipped where its name ends in .gz, after checking it.

    Args:
        path: the file.
        sha256: checksum of the uncompressed content; None: not checked.

    Raises:
        DataError: the file cannot be read, or its content is not the published one.
    """
    raw = read_raw(path)
    try:
        content = unzipped(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unzipped: {error}. Delete it and load again.") from error
    check(content, sha256, path)
    return content


def read_raw(path: Path) -> bytes:
    """Return the bytes of a file as they are; raises DataError naming it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}. It must be a file that you may read.") from error


def unzipped(raw: bytes) -> bytes:
    """Return the content of a gzip file, at most ``MOST_BYTES``."""
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise EOFError(f"it unzips to more than {MOST_BYTES:,} bytes")
    return content


def check(content: bytes, sha256: str | None, path: Path | str) -> None:
    """Raise DataError unless ``content`` has the checksum ``sha256`` (None: anything goes)."""
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise DataError(
            f"{path} is not the published file: SHA-256 of its content is {found}, expected {sha256}. "
            f"Delete it and load again; or, if it belongs to another data set, move it: each set has a "
            f"folder of its own below $FEATHERWEIGHT_DATA."
        )


def fetch(url: str) -> bytes:
    """Return what is at an address."""
    import pooch

    file = io.BytesIO()
    pooch.HTTPDownloader(progressbar=False, timeout=30)(url, file, None)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def keep(content: bytes, path: Path) -> Path:
    """Write a file of the cache, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)
    return path
