"""CIFAR-10 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html), read from its binary version.

The binary version is six files of records: a byte for the label, then 3,072 bytes for the image (red,
green, blue; 32x32 each, row by row). The Python version is pickles, and no pickle is ever loaded here. The
archive is read in memory: nothing is unpacked to the disk, so no path in it can do harm.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import torch

from featherweight.errors import DataError
from featherweight.zoo._registry import data_sets
from featherweight.zoo.data.files import cache_folder, data_folders, fetch, keep, read_raw
from featherweight.zoo.data.splits import Batch, Splits, split

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
SIX_FILES = (*TRAIN_FILES, TEST_FILE)
FOLDER, ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the archive, as published on its page
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
RECORD, RECORDS = 1 + 3 * 32 * 32, 10_000  # bytes a record, records a file


@data_sets.register("cifar10")
def cifar10() -> Splits:
    """Return CIFAR-10: 45,000 train, 5,000 validation, 10,000 test images of 3x32x32.

    Raises:
        DataError: the files are nowhere and cannot be downloaded, or do not hold what they should.
    """
    source, files = _find()
    parts = [_records(files[name], f"{source}: {name}") for name in TRAIN_FILES]
    train = torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])
    test = _records(files[TEST_FILE], f"{source}: {TEST_FILE}")
    _check_balance(train, f"{source}: {TRAIN_FILES[0]} and its kin")
    _check_balance(test, f"{source}: {TEST_FILE}")
    return split(
        "cifar10", train, test, validation=5_000, classes=CLASSES, source=str(source), flip=True, shift=4
    )


def _find() -> tuple[Path, dict[str, bytes]]:
    """Return the folder or archive that holds the six files, and their content by name."""
    looked = [place for folder in data_folders("cifar10") for place in (folder / FOLDER, folder)]
    for folder in looked:
        if all((folder / name).exists() for name in SIX_FILES):
            return folder, {name: read_raw(folder / name) for name in SIX_FILES}
        if (archive := folder / ARCHIVE).exists():
            return archive, _unpacked(read_raw(archive), archive)
    try:
        raw = fetch(URL)
        files = _unpacked(raw, URL)
        return keep(raw, cache_folder() / "cifar10" / ARCHIVE), files
    except Exception as error:
        raise DataError(_not_found(looked, error)) from error


def _unpacked(raw: bytes, path: Path | str) -> dict[str, bytes]:
    """Check the archive and return the content of the six files in it, by name."""
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if found != MD5:
        raise DataError(
            f"{path} is not the published archive: its MD5 is {found}, expected {MD5}. "
            f"Delete it and load again."
        )
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            if file:
                files[member.name.removeprefix(f"{FOLDER}/")] = file.read(RECORD * RECORDS + 1)
    return files


def _records(raw: bytes, where: str) -> Batch:
    """Return images (10000, 3, 32, 32) uint8 and labels (10000,) int64 of one file."""
    if len(raw) != RECORD * RECORDS:
        raise DataError(
            f"{where} holds {len(raw):,} bytes, expected {RECORD * RECORDS:,} ({RECORDS:,} records of "
            f"{RECORD:,}). Get {URL} again."
        )
    records = torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(RECORDS, RECORD).copy())
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].to(torch.int64)


def _check_balance(data: Batch, where: str) -> None:
    """Check that every class has as many images as any other: a damaged file seldom has."""
    counts = torch.bincount(data[1], minlength=len(CLASSES)).tolist()
    expected = [len(data[1]) // len(CLASSES)] * len(CLASSES)
    if counts != expected:
        raise DataError(f"{where} holds {counts} images a class, expected {expected}. Get {URL} again.")


def _not_found(looked: list[Path], error: Exception) -> str:
    pickles = [found for folder in looked if (found := folder.with_name("cifar-10-batches-py")).exists()]
    note = f" {pickles[0]} holds pickles, which are never loaded here." if pickles else ""
    return (
        f"Data set 'cifar10' was not found in {', '.join(map(str, looked))}, and could not be downloaded "
        f"({type(error).__name__}: {error}).{note} Get the binary version with `curl -LO {URL}` into a "
        f"folder cifar10 and set FEATHERWEIGHT_DATA to the folder above."
    )
