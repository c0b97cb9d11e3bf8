"""The pretrained networks: how each is built, what calibrates it, and what its outputs are compared by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from benchmarks.oneshot import photographs, sentences
from torch import Tensor, nn

import featherweight as fw
from featherweight.zoo import build

Batches = list[tuple[Tensor, Tensor]]  # (inputs, zeros)
Figures = dict[str, float]


@dataclass(frozen=True)
class Task:
    """A network and the data that it is looked at on.

    Attributes:
        title: what the figure is, for the head of the table.
        build: the dense network, evaluating.
        calibration: ``(seed, examples) -> batches`` that methods may look at.
        evaluation: ``(seed, examples) -> batches`` that nothing but the figures looks at.
        compare: ``(dense outputs, sparse outputs) -> figures``.
        figure: the one of them that is shown.
        digits: of it.
        examples: to calibrate with, unless others are asked for.
        evaluated: to compare on, likewise.
        left_alone: layers that no method prunes.
        fixed_evaluation: whether the evaluation is the same for each seed.
        has_batch_norm: whether the network has any.
    """

    title: str
    build: Callable[[], nn.Module]
    calibration: Callable[[int, int], Batches]
    evaluation: Callable[[int, int], Batches]
    compare: Callable[[Tensor, Tensor], Figures]
    figure: str
    digits: int = 3
    examples: int = 128
    evaluated: int = 256
    left_alone: Callable[[nn.Module], tuple[str, ...]] = lambda model: ()
    fixed_evaluation: bool = False
    has_batch_norm: bool = True


def agreement(dense: Tensor, sparse: Tensor) -> Figures:
    """Return the share of examples with the same highest output, 0..1, and the error of the outputs."""
    same = (dense.argmax(1) == sparse.argmax(1)).double().mean()
    return {"agreement": float(same), "error": relative_error(dense, sparse)}


def similarity(dense: Tensor, sparse: Tensor) -> Figures:
    """Return Spearman's correlation of the cosines of all pairs of embeddings, and their error.

    Args:
        dense: (n, width) embeddings of length 1.
        sparse: the same of the pruned network.
    """
    above = torch.triu_indices(len(dense), len(dense), offset=1)
    cosines = [(found @ found.T)[above[0], above[1]] for found in (dense.double(), sparse.double())]
    return {"spearman": spearman(*cosines), "error": relative_error(dense, sparse)}


def spearman(first: Tensor, second: Tensor) -> float:
    """Return the correlation of the ranks of two vectors; equal values are ranked by place."""
    ranks = torch.stack([each.argsort(stable=True).argsort().double() for each in (first, second)])
    return float(torch.corrcoef(ranks)[0, 1])


def relative_error(dense: Tensor, sparse: Tensor) -> float:
    """Return ``|sparse - dense| / |dense - mean of dense|``: 1 where the mean output would do as well."""
    dense, sparse = dense.double(), sparse.double()
    return float((sparse - dense).norm() / (dense - dense.mean(0)).norm())


def _untrained() -> nn.Module:
    torch.manual_seed(0)
    return build("small_cnn", in_channels=1, classes=10).eval()


def _resnet20() -> nn.Module:
    return fw.load_model("fashion_resnet20").eval()


def images_of(data_set: str, split: str, batch: int, *, fixed: bool = False) -> Callable[[int, int], Batches]:
    """Return what draws images of a split, those of training as they are augmented; labels are zeros.

    Args:
        data_set: by name.
        split: of it.
        batch: images in a batch.
        fixed: whether each seed draws the same.
    """

    def batches(seed: int, examples: int) -> Batches:
        seed = 0 if fixed else seed
        images = getattr(fw.load_data(data_set), split)
        drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:examples]
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            found = images.__getitems__(drawn.tolist())[0]
        return [(part, torch.zeros(len(part), dtype=torch.int64)) for part in found.split(batch)]

    return batches


TASKS = {
    "efficientnet_lite0": Task(
        "EfficientNet-Lite0, real photographs: agreement with the dense network's top-1",
        photographs.efficientnet_lite0,
        photographs.calibration,
        photographs.evaluation,
        agreement,
        "agreement",
        examples=64,
        left_alone=photographs.left_alone,
    ),
    "minilm": Task(
        "MiniLM-L6, sentences of IMDB: Spearman correlation of cosines with the dense network's",
        sentences.minilm,
        sentences.calibration,
        sentences.evaluation,
        similarity,
        "spearman",
        fixed_evaluation=True,
        has_batch_norm=False,
    ),
    "fashion_resnet20": Task(
        "ResNet-20, Fashion-MNIST: agreement with the dense network's top-1 on all test images",
        _resnet20,
        images_of("fashion_mnist", "train", 64),
        images_of("fashion_mnist", "test", 100, fixed=True),
        agreement,
        "agreement",
        examples=512,
        evaluated=10_000,
        fixed_evaluation=True,
    ),
    "smoke": Task(
        "an untrained network on digits, for tests and tries",
        _untrained,
        images_of("digits", "train", 16),
        images_of("digits", "test", 16),
        agreement,
        "agreement",
    ),
}
