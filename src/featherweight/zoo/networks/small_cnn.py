"""A small convolutional network for 28x28 and 32x32 images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.zoo._registry import networks
from featherweight.zoo.networks._init import check_positive, check_widths


class SmallCNN(nn.Module):
    """Four 3x3 convolutions with batch norm, three poolings; ``(n, in_channels, h, w) -> (n, classes)``.

    0.39M parameters. Works for any h, w >= 8 since the last pooling is global.

    Args:
        in_channels: channels of an image.
        classes: number of outputs.
        widths: channels of the convolutions; a pooling comes between two of them.
    """

    def __init__(self, in_channels: int = 1, classes: int = 10, widths: tuple[int, ...] = (32, 64, 128, 256)):
        super().__init__()
        check_positive(in_channels=in_channels, classes=classes)
        check_widths(widths)
        ins = (in_channels, *widths[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in zip(ins, widths, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        for depth, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if depth:
                x = F.max_pool2d(x, 2)
            x = F.relu(norm(conv(x)))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


@networks.register("small_cnn")
def small_cnn(
    in_channels: int = 1, classes: int = 10, widths: tuple[int, ...] = (32, 64, 128, 256)
) -> SmallCNN:
    """The small CNN, 0.39M parameters."""
    return SmallCNN(in_channels, classes, widths)
