"""MobileNet v1 (Howard et al. 2017, table 1, https://arxiv.org/abs/1704.04861): separable convolutions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.zoo._registry import networks
from featherweight.zoo.networks._init import check_positive, init_convolutional

# (channels, stride) of the 13 separable layers; the first convolution has 32 channels and stride 2.
LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class MobileNetV1(nn.Module):
    """A convolution and 13 separable layers; ``(n, in_channels, h, w) -> (n, classes)`` for any h, w >= 32.

    Args:
        in_channels: channels of an image.
        classes: number of outputs.
        width: factor of the channels of every layer (the paper's alpha), above 0; at least 8 channels stay.
    """

    def __init__(self, in_channels: int = 3, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, classes=classes, width=width)
        self.features = nn.Sequential(*_layers(in_channels, width))
        self.classifier = nn.Linear(_scaled(LAYERS[-1][0], width), classes)
        init_convolutional(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1))


def _layers(in_channels: int, width: float) -> Iterator[nn.Sequential]:
    channels = _scaled(32, width)
    yield nn.Sequential(*_convolution(in_channels, channels, 3, stride=2))
    for wanted, stride in LAYERS:
        out = _scaled(wanted, width)
        depthwise = _convolution(channels, channels, 3, stride, groups=channels)
        yield nn.Sequential(*depthwise, *_convolution(channels, out, 1))
        channels = out


def _convolution(ins: int, outs: int, size: int, stride: int = 1, groups: int = 1) -> Iterator[nn.Module]:
    yield nn.Conv2d(ins, outs, size, stride, padding=size // 2, groups=groups, bias=False)
    yield nn.BatchNorm2d(outs)
    yield nn.ReLU(inplace=True)


def _scaled(channels: int, width: float) -> int:
    return max(8, round(channels * width))


@networks.register("mobilenet_v1")
def mobilenet_v1(in_channels: int = 3, classes: int = 10, width: float = 1.0) -> MobileNetV1:
    """MobileNet v1, 4.2M parameters for 1,000 classes at width 1."""
    return MobileNetV1(in_channels, classes, width)
