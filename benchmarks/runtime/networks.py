"""Networks with random masks, as files that engines run: what the benchmark of speed compares.

Every convolution but the first, and every linear layer, loses the same fraction of its weights at random.
Weights are new; batch norm is folded by each engine itself. ``fashion_resnet20`` is the zoo's, trained: of
all its weights the smallest are zero, as ``fw.prune`` chooses them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import featherweight as fw
from featherweight.zoo import build

TRAINED = "fashion_resnet20"
NETWORKS = ("resnet50", "resnet18", "vgg16_bn", "mobilenet_v1", "mobilenet_v2", TRAINED)
SPARSITIES = (0.0, 0.7, 0.8, 0.9, 0.95)
FOLDER = Path(__file__).parents[2] / "runs" / "runtime"


@dataclass(frozen=True)
class Files:
    """One network.

    Attributes:
        onnx: of it.
        program: the same as a program of torch.export.
    """

    onnx: Path
    program: Path


def input_shape(network: str, batch: int = 1) -> tuple[int, ...]:
    """Return what a network takes."""
    return (batch, 1, 28, 28) if network == TRAINED else (batch, 3, 224, 224)


def files_of(network: str, sparsity: float, batch: int = 1) -> Files:
    """Return the files of a network, made where they are not there."""
    stem = FOLDER / f"{network}-{sparsity:g}-{batch}"
    files = Files(stem.with_name(stem.name + ".onnx"), stem.with_name(stem.name + ".pt2"))
    if files.onnx.exists() and files.program.exists():
        return files
    FOLDER.mkdir(parents=True, exist_ok=True)
    model, x = with_zeros(network, sparsity), torch.zeros(input_shape(network, batch))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model, (x,)), files.program)
        fw.export_onnx(model, x, files.onnx, dynamic_batch=False)
    return files


def with_zeros(network: str, sparsity: float) -> nn.Module:
    """Return a new network with random zeros; the trained one with its smallest weights zero."""
    if network == TRAINED:
        trained = fw.load_model(TRAINED).eval()
        if sparsity:
            fw.prune(trained, sparsity=sparsity)
        return trained
    torch.manual_seed(0)
    model = build(network, in_channels=3, classes=1000).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # numbers that folding changes
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers[1:]:
        layer.weight.data[torch.rand_like(layer.weight) < sparsity] = 0
    return model
