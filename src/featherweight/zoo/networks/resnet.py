"""Residual networks in their ImageNet form (He et al. 2015, https://arxiv.org/abs/1512.03385).

The bottleneck is v1.5: its stride is in the 3x3 convolution. Parameters are named as in torchvision, so
that weights published for it can be loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.zoo._registry import networks
from featherweight.zoo.networks._init import check_positive, init_convolutional


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; ``(n, c, h, w) -> (n, width, h / stride, w / stride)``."""

    expansion: ClassVar[int] = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut; ``(n, c, h, w) -> (n, 4 width, h / stride, w / stride)``."""

    expansion: ClassVar[int] = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = self.expansion * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = _shortcut(channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


def _shortcut(channels: int, out: int, stride: int) -> nn.Sequential | None:
    """Return a 1x1 convolution with its norm where the shapes of input and output differ, else None."""
    if stride == 1 and channels == out:
        return None
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))


class ResNet(nn.Module):
    """A residual network of four stages; ``(n, in_channels, h, w) -> (n, classes)`` for any h, w >= 32.

    Args:
        block: the class of its blocks.
        depths: blocks in each of the four stages.
        in_channels: channels of an image.
        classes: number of outputs.
    """

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: Sequence[int], in_channels: int, classes: int
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, classes=classes)
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(block, 64, 64, depths[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, depths[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, depths[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, depths[3], stride=2)
        self.fc = nn.Linear(512 * block.expansion, classes)
        init_convolutional(self, linear_std=None)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def _stage(
    block: type[BasicBlock | Bottleneck], channels: int, width: int, depth: int, stride: int
) -> nn.Sequential:
    first = block(channels, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1) for _ in range(depth - 1)))


@networks.register("resnet18")
def resnet18(in_channels: int = 3, classes: int = 10) -> ResNet:
    """ResNet-18, 11.7M parameters for 1,000 classes."""
    return ResNet(BasicBlock, (2, 2, 2, 2), in_channels, classes)


@networks.register("resnet50")
def resnet50(in_channels: int = 3, classes: int = 10) -> ResNet:
    """ResNet-50 v1.5, 25.6M parameters for 1,000 classes."""
    return ResNet(Bottleneck, (3, 4, 6, 3), in_channels, classes)
