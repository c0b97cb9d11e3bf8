"""CIFAR-10's binary version, from files that the test writes; smaller records, so that it is quick."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

import featherweight as fw
from featherweight.errors import DataError
from featherweight.zoo.data import cifar10

COUNT = 1_010  # records a file: five of them hold the 5,000 for validation, and 50 more


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "RECORDS", COUNT)


def written(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (COUNT, 3073), np.uint8)
    records[:, 0] = np.arange(COUNT) % 10
    return records.tobytes()


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return {name: written(seed) for seed, name in enumerate(cifar10.SIX_FILES)}


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def archive(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as tar:
        link = tarfile.TarInfo("cifar-10-batches-bin/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


@pytest.mark.parametrize("below", ["cifar10/cifar-10-batches-bin", "cifar10", "cifar-10-batches-bin"])
def test_reads_labels_and_planes(data_root: Path, made: dict[str, bytes], below: str) -> None:
    put(data_root / below, made)
    splits = fw.load_data("cifar10")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (50, 5_000, COUNT)
    raw = made["test_batch.bin"]
    assert splits.test.labels[3] == raw[3 * 3073]
    green = raw[3 * 3073 + 1 + 1024 :]
    assert splits.test.images[3, 1, 2, 5] == green[2 * 32 + 5]
    assert (splits.in_channels, splits.image_size, splits.train.shift) == (3, 32, 4)


def test_reads_the_archive_without_unpacking_it(
    data_root: Path, made: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = archive(made)
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(raw).hexdigest())
    (data_root / cifar10.ARCHIVE).write_bytes(raw)
    splits = fw.load_data("cifar10")
    assert splits.test.labels[:12].tolist() == [*range(10), 0, 1]
    assert [path.name for path in data_root.iterdir()] == [cifar10.ARCHIVE]


def test_another_archive_is_refused_before_it_is_opened(
    data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_root / cifar10.ARCHIVE).write_bytes(b"not even a tar file")
    with pytest.raises(DataError, match=rf"MD5 is [0-9a-f]{{32}}, expected {cifar10.MD5}"):
        fw.load_data("cifar10")


def test_a_download_is_checked_and_kept(
    data_root: Path, made: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raw = archive(made)
    kept = tmp_path / "cache" / "featherweight" / "cifar10" / cifar10.ARCHIVE
    monkeypatch.setattr(cifar10, "fetch", lambda url: raw)
    with pytest.raises(DataError, match="not the published archive"):
        fw.load_data("cifar10")
    assert not kept.exists()
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(raw).hexdigest())
    assert fw.load_data("cifar10").source == str(kept)
    monkeypatch.setattr(cifar10, "fetch", lambda url: b"")
    assert len(fw.load_data("cifar10").test) == COUNT


def test_a_cut_file_is_named(data_root: Path, made: dict[str, bytes]) -> None:
    put(data_root / "cifar10", made | {"data_batch_3.bin": made["data_batch_3.bin"][:-1]})
    with pytest.raises(DataError, match=r"data_batch_3\.bin holds 3,103,729 bytes, expected 3,103,730"):
        fw.load_data("cifar10")


def test_a_damaged_label_is_found(data_root: Path, made: dict[str, bytes]) -> None:
    damaged = bytearray(made["test_batch.bin"])
    damaged[0] = 200
    put(data_root / "cifar10", made | {"test_batch.bin": bytes(damaged)})
    with pytest.raises(DataError, match=r"test_batch\.bin.*images a class"):
        fw.load_data("cifar10")


def test_pickles_are_not_read_and_that_is_said(data_root: Path) -> None:
    (data_root / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match=r"cifar-10-batches-py holds pickles.*curl -LO"):
        fw.load_data("cifar10")


def test_statistics_are_those_of_the_training_images(data_root: Path, made: dict[str, bytes]) -> None:
    put(data_root / "cifar10", made)
    splits = fw.load_data("cifar10")
    pixels = splits.train.images.double() / 255
    assert torch.equal(splits.train.mean, pixels.mean((0, 2, 3)).float())
    assert torch.equal(splits.train.std, pixels.std((0, 2, 3)).float())
    assert torch.equal(splits.test.mean, splits.train.mean)
