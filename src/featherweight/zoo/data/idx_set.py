"""Finding, fetching and checking the four files of an MNIST-like data set.

Checksums are of the uncompressed content, since distributions compress the same files differently.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from featherweight.errors import DataError
from featherweight.zoo.data.idx import read_idx
from featherweight.zoo.data.splits import Batch, Splits, split

FOUR_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


@dataclass(frozen=True)
class IdxSet:
    """Where the files of a data set may be, and what they must hold.

    Attributes:
        name: folder name below ``$FEATHERWEIGHT_DATA`` and the cache.
        sha256: checksum of each uncompressed file, by its name without ``.gz``; empty: not checked.
        folders: further folders to look in, such as that of a Debian package.
        url: where the files can be downloaded, each as ``url + name + ".gz"``; None: nowhere.
        hint: the command that installs them.
    """

    name: str
    sha256: Mapping[str, str]
    folders: tuple[str, ...]
    url: str | None
    hint: str


def cache_folder() -> Path:
    """Return the folder that downloads are kept in."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "featherweight"


def data_folders(name: str, others: Sequence[str] = ()) -> Iterator[Path]:
    """Yield the folders that may hold data set ``name``: $FEATHERWEIGHT_DATA, the cache, then ``others``."""
    if root := os.environ.get("FEATHERWEIGHT_DATA"):
        yield Path(root) / name
        yield Path(root)
    yield cache_folder() / name
    yield from map(Path, others)


def load_idx_set(files: IdxSet, classes: Sequence[str], *, flip: bool, validation: int = 5_000) -> Splits:
    """Return the splits of an MNIST-like data set.

    Raises:
        DataError: the files are nowhere and cannot be downloaded, or do not hold what they should.
    """
    folder = _folder_with_files(files)
    parts = {name: _checked(_existing(folder, name), files.sha256.get(name)) for name in FOUR_FILES}
    train = _paired(parts, "train", folder, len(classes))
    test = _paired(parts, "t10k", folder, len(classes))
    return split(
        files.name, train, test, validation=validation, classes=classes, source=str(folder), flip=flip
    )


def _existing(folder: Path, name: str) -> Path:
    zipped = folder / f"{name}.gz"
    return zipped if zipped.exists() else folder / name


def _folder_with_files(files: IdxSet) -> Path:
    looked = list(data_folders(files.name, files.folders))
    for folder in looked:
        if all(_existing(folder, name).exists() for name in FOUR_FILES):
            return folder
    try:
        return _download(files)
    except Exception as error:
        raise DataError(
            f"Data set {files.name!r} was not found in {', '.join(map(str, looked))}, and could not be "
            f"downloaded ({type(error).__name__}: {error}). Install it with `{files.hint}`, or put its four "
            f"idx files in a folder and set FEATHERWEIGHT_DATA to it."
        ) from error


def _download(files: IdxSet) -> Path:
    import pooch

    if files.url is None:
        raise DataError("there is no address to download it from")
    folder = cache_folder() / files.name
    for name in FOUR_FILES:
        pooch.retrieve(f"{files.url}{name}.gz", known_hash=None, fname=f"{name}.gz", path=folder)
    return folder


def _checked(path: Path, sha256: str | None) -> Tensor:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise DataError(
            f"{path} is not the published file: SHA-256 of its content is {found}, expected {sha256}. "
            f"Delete it and load again."
        )
    return read_idx(path)


def _paired(parts: Mapping[str, Tensor], which: str, folder: Path, classes: int) -> Batch:
    images, labels = parts[f"{which}-images-idx3-ubyte"], parts[f"{which}-labels-idx1-ubyte"]
    if len(images) != len(labels) or int(labels.max()) >= classes:
        raise DataError(
            f"{folder}: {len(images)} {which} images against {len(labels)} labels up to {int(labels.max())}; "
            f"expected as many of each, and labels below {classes}."
        )
    return images.unsqueeze(1), labels.to(torch.int64)
