"""Finding, fetching and checking the four files of an MNIST-like data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from featherweight.errors import DataError
from featherweight.zoo.data.files import (
    cache_folder,
    check,
    data_folders,
    fetch,
    keep,
    read_content,
    unzipped,
)
from featherweight.zoo.data.idx import parse_idx
from featherweight.zoo.data.splits import Batch, Splits, split

FOUR_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


@dataclass(frozen=True)
class IdxSet:
    """Where the files of a data set may be, and what they must hold.

    Attributes:
        name: folder name below ``$FEATHERWEIGHT_DATA`` and the cache.
        sha256: checksum of each uncompressed file, by its name without ``.gz``.
        folders: further folders to look in, such as that of a Debian package; see ``data_folders``.
        url: where the files can be downloaded, each as ``url + name + ".gz"``.
        hint: the command that installs them; ``{cache}`` stands for the cache of this data set.
    """

    name: str
    sha256: Mapping[str, str]
    folders: tuple[str, ...]
    url: str
    hint: str


def load_idx_set(files: IdxSet, classes: Sequence[str], *, flip: bool, validation: int = 5_000) -> Splits:
    """Return the splits of an MNIST-like data set.

    Raises:
        DataError: the files are nowhere and cannot be downloaded, or do not hold what they should.
    """
    folder = _folder_with_files(files)
    train = _read(files, folder, "train", len(classes))
    test = _read(files, folder, "t10k", len(classes))
    return split(
        files.name, train, test, validation=validation, classes=classes, source=str(folder), flip=flip
    )


def _folder_with_files(files: IdxSet) -> Path:
    looked = list(data_folders(files.name, files.folders))
    for folder in looked:
        if all(_existing(folder, name).exists() for name in FOUR_FILES):
            return folder
    try:
        return _download(files)
    except Exception as error:
        hint = files.hint.format(cache=cache_folder() / files.name)
        raise DataError(
            f"Data set {files.name!r} was not found in {', '.join(map(str, looked))}, and could not be "
            f"downloaded ({type(error).__name__}: {error}). Install it with `{hint}`, or put its four "
            f"idx files in a folder {files.name} and set FEATHERWEIGHT_DATA to the folder above."
        ) from error


def _existing(folder: Path, name: str) -> Path:
    zipped = folder / f"{name}.gz"
    return zipped if zipped.exists() else folder / name


def _download(files: IdxSet) -> Path:
    folder = cache_folder() / files.name
    for name in FOUR_FILES:
        if not _existing(folder, name).exists():
            raw = fetch(f"{files.url}{name}.gz")
            check(unzipped(raw), files.sha256[name], f"{files.url}{name}.gz")
            keep(raw, folder / f"{name}.gz")
    return folder


def _read(files: IdxSet, folder: Path, part: str, classes: int) -> Batch:
    """Return images (n, 1, height, width) uint8 and labels (n,) int64 of one part, "train" or "t10k"."""
    images, labels = (parse_idx(content, path) for content, path in _contents(files, folder, part))
    fit = images.ndim == 3 and labels.ndim == 1 and len(images) == len(labels) > 0
    if not fit or int(labels.max()) >= classes:
        raise DataError(
            f"{folder}: {part} images of shape {tuple(images.shape)} against labels of shape "
            f"{tuple(labels.shape)}; expected (n, height, width) and (n,), labels below {classes}."
        )
    return images.unsqueeze(1), labels.to(torch.int64)


def _contents(files: IdxSet, folder: Path, part: str) -> Iterator[tuple[bytes, Path]]:
    for name in FOUR_FILES:
        if name.startswith(part):
            path = _existing(folder, name)
            yield read_content(path, files.sha256[name]), path
