"""VGG-16 with batch norm (Simonyan, Zisserman 2014, table 1 D, https://arxiv.org/abs/1409.1556).

Parameters are named as in torchvision, so that weights published for it can be loaded.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.zoo._registry import networks
from featherweight.zoo.networks._init import check_positive, init_convolutional

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # a pooling after each
POOLED = 7  # height and width that the linear layers see, whatever the image's


class VGG16(nn.Module):
    """13 convolutions, 3 linear layers; ``(n, in_channels, h, w) -> (n, classes)`` for any h, w >= 32.

    Args:
        in_channels: channels of an image.
        classes: number of outputs.
        hidden: width of the two hidden linear layers, which hold most of the parameters.
    """

    def __init__(self, in_channels: int = 3, classes: int = 10, hidden: int = 4096) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, classes=classes, hidden=hidden)
        self.features = nn.Sequential(*_layers(in_channels))
        flat = STAGES[-1][-1] * POOLED**2
        self.classifier = nn.Sequential(
            *_hidden(flat, hidden), *_hidden(hidden, hidden), nn.Linear(hidden, classes)
        )
        init_convolutional(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(self.features(x), POOLED), 1))


def _layers(channels: int) -> Iterator[nn.Module]:
    for stage in STAGES:
        for out in stage:
            yield nn.Conv2d(channels, out, 3, padding=1)
            yield nn.BatchNorm2d(out)
            yield nn.ReLU(inplace=True)
            channels = out
        yield nn.MaxPool2d(2)


def _hidden(ins: int, outs: int) -> Iterator[nn.Module]:
    yield nn.Linear(ins, outs)
    yield nn.ReLU(inplace=True)
    yield nn.Dropout(0.5)


@networks.register("vgg16_bn")
def vgg16_bn(in_channels: int = 3, classes: int = 10, hidden: int = 4096) -> VGG16:
    """VGG-16 with batch norm, 138M parameters for 1,000 classes."""
    return VGG16(in_channels, classes, hidden)
