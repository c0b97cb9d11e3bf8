"""Every network of the zoo, from PyTorch over ONNX to a `.fw` file: dense, and 80, 90 and 95% zeros.

Each is exported once, as that takes most of the time. What PyTorch then prunes is made 0 in the ONNX file by
the names, which are those of the module: what the exporter folds into weights multiplies whole output
channels and moves no zero. A network whose weights lose their names is exported again.

The truth is what PyTorch computes in float64: the runtime may be off by FACTOR times what PyTorch itself is
in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import featherweight as fw
from featherweight.runtime import fwfile
from featherweight.zoo import build, network_names
from featherweight.zoo.networks import vgg

# Channels, and height and width of the image: small, so that this takes seconds.
SHAPES = {
    "lenet_300_100": (1, 28),
    "small_cnn": (1, 28),
    "resnet20": (3, 32),
    "resnet56": (3, 16),
    "vit_c_tiny": (1, 28),
    "vit_tiny": (1, 28),
}
LARGE = ("mobilenet_v2", "resnet18", "resnet50", "vgg16_bn", "vit_c_tiny", "vit_tiny")
SPARSITIES = (0.0, 0.8, 0.9, 0.95)
FACTOR, LEAST = 4.0, 1e-6  # the least is of the largest output


@pytest.fixture
def images(name: str) -> torch.Tensor:
    torch.manual_seed(0)
    channels, size = SHAPES.get(name, (3, 64))
    return torch.randn(3, channels, size, size)


@pytest.fixture
def model(name: str, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A network whose batch norms know the values that go through it."""
    monkeypatch.setattr(vgg, "POOLED", 2)  # what is left of images of 64 pixels
    make = partial(vgg.VGG16, hidden=64) if name == "vgg16_bn" else partial(build, name)
    made = make(in_channels=images.shape[1], classes=10)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        made.train()(images)
    return made.eval()


def exported(model: nn.Module, images: torch.Tensor, path: Path) -> onnx.ModelProto:
    """Return the network as ONNX, with its batch free: all of the zoo can have one."""
    fw.export_onnx(model, images, path)
    return onnx.load(path)


def weights_of(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in model.named_parameters() if value.ndim >= 2}


def with_zeros(network: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> bool:
    """Put the zeros of ``weights`` into the network; False where it does not have them by name."""
    found = {tensor.name: tensor for tensor in network.graph.initializer if tensor.name in weights}
    if sum(weights[name].size for name in found) < 0.9 * sum(array.size for array in weights.values()):
        return False
    for name, tensor in found.items():
        array = numpy_helper.to_array(tensor) * (weights[name] != 0)
        tensor.CopyFrom(numpy_helper.from_array(array, name))
    return True


def exact(model: nn.Module, images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return copy.deepcopy(model).double()(images.double()).numpy()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in network_names()]
)
def test_as_pytorch_at_every_sparsity(model: nn.Module, images: torch.Tensor, tmp_path: Path) -> None:
    out = tmp_path / "net.fw"
    network = exported(model, images, tmp_path / "net.onnx")
    for sparsity in SPARSITIES:
        if sparsity:
            fw.prune(model, sparsity)
            if not with_zeros(network, weights_of(model)):
                network = exported(model, images, tmp_path / "net.onnx")
        session = fw.compile(network, out, threads=2, tune=False)
        assert session.inputs[0].shape[0] is None
        with torch.no_grad():
            expected, true = model(images).numpy(), exact(model, images)
        bound = max(FACTOR * np.abs(expected - true).max(), LEAST * np.abs(true).max())
        for used in (session, fw.runtime.load(out, threads=1)):
            got = used.run(images)
            assert got.shape == expected.shape
            assert np.abs(got - true).max() <= bound, f"{sparsity}, {used}"
    graph = fwfile.read(out)
    elements = sum(constant.array.size for constant in graph.constants.values())
    nonzeros = sum(np.count_nonzero(constant.array) for constant in graph.constants.values())
    assert nonzeros < 0.15 * elements
    assert "sparse" in [operation.attributes.get("kernel") for operation in graph.operations]
