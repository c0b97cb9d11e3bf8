"""What the pictures of the demo's page show: layers, weights and bytes, as records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from featherweight import artifact
from featherweight.core.masks import Masks
from featherweight.core.prunable import find_prunable
from featherweight.report import CodingBytes, Histogram, LayerSparsity

BINS = 60


def layers(model: nn.Module) -> tuple[LayerSparsity, ...]:
    """Return what each prunable layer keeps."""
    return tuple(LayerSparsity(name, mask.numel, mask.kept) for name, mask in Masks.from_zeros(model).items())


def histograms(dense: nn.Module, pruned: nn.Module) -> tuple[Histogram, ...]:
    """Return the distribution of the weights of each prunable layer, before and after; zeros are left out."""
    before, after = _weights(dense), _weights(pruned)
    return tuple(_histogram(name, before[name], after[name]) for name in before)


def _weights(model: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    return {w.name: w.tensor.detach().float().cpu().reshape(-1).numpy() for w in find_prunable(model).weights}


def _histogram(name: str, before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> Histogram:
    limit = float(max(np.abs(before).max(), np.abs(after).max())) or 1.0
    edges = np.linspace(-limit, limit, BINS + 1)
    counts = [np.histogram(values[values != 0], edges)[0] for values in (before, after)]
    return Histogram(name, tuple(edges.tolist()), tuple(counts[0].tolist()), tuple(counts[1].tolist()))


def codings(path: Path) -> tuple[CodingBytes, ...]:
    """Return the bytes that the tensors of a file take under each way of writing them."""
    sizes = artifact.coding_sizes(artifact.read(path).tensors)
    return tuple(CodingBytes(f"{size.coding}, {size.values}", size.total_bytes) for size in sizes)
