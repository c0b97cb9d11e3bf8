"""The bundled digits: always there, always split the same way, no image on two sides."""

from __future__ import annotations

import sys

import pytest
import torch

import featherweight as fw
from featherweight.errors import DataError
from featherweight.zoo.data import digits


def test_splits_are_fixed_and_apart() -> None:
    first, second = fw.load_data("digits"), fw.load_data("digits")
    assert (len(first.train), len(first.validation), len(first.test)) == (1257, 180, 360)
    assert torch.equal(first.test.labels, second.test.labels)
    assert torch.equal(first.train.images, second.train.images)
    images = [part.images.flatten(1) for part in (first.train, first.validation, first.test)]
    assert len({tuple(row) for part in images for row in part.tolist()}) == 1797
    assert first.test.labels[:10].tolist() == [1, 6, 2, 2, 4, 9, 5, 3, 9, 7]


def test_form() -> None:
    splits = fw.load_data("digits")
    assert (splits.in_channels, splits.image_size, splits.test.images.dtype) == (1, 28, torch.uint8)
    assert splits.train.images.max() == 255
    assert not splits.train.flip


def test_other_digits_than_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    with pytest.raises(DataError, match="not the known 1,797"):
        fw.load_data("digits")


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        fw.load_data("digits")
