"""Residual networks in their CIFAR form (He et al. 2015, section 4.2, https://arxiv.org/abs/1512.03385).

Three stages of ``n`` basic blocks with 16, 32 and 64 channels; depth ``6 n + 2``. The shortcut of the
first block of a stage is a 1x1 convolution (option B of the paper).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.errors import SettingError
from featherweight.zoo._registry import networks
from featherweight.zoo.networks._init import check_positive, check_widths

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; ``(n, c_in, h, w) -> (n, c_out, h / stride, w / stride)``."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """A CIFAR-form residual network; ``(n, in_channels, h, w) -> (n, classes)`` for any h, w >= 4.

    Args:
        depth: layers with weights, ``6 n + 2``.
        in_channels: channels of an image.
        classes: number of outputs.
        widths: channels of the three stages.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        classes: int = 10,
        widths: tuple[int, int, int] = WIDTHS,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise SettingError(f"depth of a CIFAR ResNet is 6 n + 2 (8, 14, 20, ...), got {depth}.")
        check_positive(in_channels=in_channels, classes=classes)
        check_widths(widths, number=3)
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages = nn.Sequential(*_stages((depth - 2) // 6, widths))
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(F.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def _stages(blocks: int, widths: tuple[int, int, int]) -> Iterator[nn.Module]:
    channels = widths[0]
    for width, stride in zip(widths, (1, 2, 2), strict=True):
        first = BasicBlock(channels, width, stride)
        yield nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(blocks - 1)))
        channels = width


@networks.register("resnet20")
def resnet20(in_channels: int = 3, classes: int = 10, widths: tuple[int, int, int] = WIDTHS) -> CifarResNet:
    """ResNet-20, 0.27M parameters."""
    return CifarResNet(20, in_channels, classes, widths)


@networks.register("resnet56")
def resnet56(in_channels: int = 3, classes: int = 10, widths: tuple[int, int, int] = WIDTHS) -> CifarResNet:
    """ResNet-56, 0.85M parameters."""
    return CifarResNet(56, in_channels, classes, widths)
