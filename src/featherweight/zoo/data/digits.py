"""The 1,797 handwritten digits that come with scikit-learn (Alpaydin, Kaynak 1998, UCI optdigits).

They are the test part of UCI's set, split here at random with a fixed seed: the same writers are on both
sides, so figures on them are kinder than on MNIST. There is nothing to download: the set to fall back on.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from featherweight.errors import DataError
from featherweight.zoo._registry import data_sets
from featherweight.zoo.data.splits import Batch, Splits, split

SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
SIZE = 28  # pixels a side, scaled up from 8, so that every network made for MNIST takes them
TEST, VALIDATION = 360, 180


@data_sets.register("digits")
def digits() -> Splits:
    """Return the digits: 1,257 train, 180 validation, 360 test images, scaled up to 28x28.

    Raises:
        DataError: scikit-learn is not installed, or brings other digits than the known ones.
    """
    images, labels = _bundled()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    train, test = order[TEST:], order[:TEST]
    return split(
        "digits",
        (images[train], labels[train]),
        (images[test], labels[test]),
        validation=VALIDATION,
        classes=tuple("0123456789"),
        source="scikit-learn",
        flip=False,
    )


def _bundled() -> Batch:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            f"Data set 'digits' comes with scikit-learn, which cannot be imported ({error}): "
            f"pip install scikit-learn"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    raw = torch.from_numpy(pixels).to(torch.uint8)  # (n, 64), 0..16
    targets = torch.from_numpy(labels).to(torch.int64)
    _check(raw, targets)
    return _scaled(raw.view(-1, 1, 8, 8)), targets


def _check(raw: Tensor, targets: Tensor) -> None:
    content = raw.numpy().tobytes() + targets.to(torch.uint8).numpy().tobytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise DataError(
            f"The digits of this scikit-learn are not the known 1,797: SHA-256 of pixels and labels is "
            f"{found}, expected {SHA256}. Install the version that constraints.txt pins."
        )


def _scaled(images: Tensor) -> Tensor:
    """Return (n, 1, 8, 8) in 0..16 as (n, 1, SIZE, SIZE) in 0..255."""
    wide = F.interpolate(images.float() * (255 / 16), SIZE, mode="bilinear", align_corners=False)
    return wide.round().clamp(0, 255).to(torch.uint8)
