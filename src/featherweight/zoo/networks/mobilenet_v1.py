"""MobileNet v1 (Howard et al. 2017, table 1, https://arxiv.org/abs/1704.04861): separable convolutions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.zoo._registry import networks
from featherweight.zoo.networks._init import check_positive, init_convolutional
from featherweight.zoo.networks._scaling import to_stride

# (channels, stride) of the first convolution, and of the 13 separable layers
STEM = (32, 2)
LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class MobileNetV1(nn.Module):
    """A convolution and 13 separable layers; ``(n, in_channels, h, w) -> (n, classes)``, h, w >= ``stride``.

    Args:
        in_channels: channels of an image.
        classes: number of outputs.
        width: factor of the channels of every layer (the paper's alpha), above 0; at least 8 channels stay.
        stride: pixels of the image for one of the last map: 32 (the paper's, for images of 224), 16, 8, 4, 2
            or 1, for which the first strides of 2 become 1. With 32, an image of 28x28 is one pixel in
            the last layers, and 2x2 in the five before: 8 suits it.
    """

    def __init__(self, in_channels: int = 3, classes: int = 10, width: float = 1.0, stride: int = 32) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, classes=classes, width=width)
        self.features = nn.Sequential(*_layers(in_channels, width, stride))
        self.classifier = nn.Linear(_scaled(LAYERS[-1][0], width), classes)
        init_convolutional(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1))


def _layers(in_channels: int, width: float, total_stride: int) -> Iterator[nn.Sequential]:
    first, *strides = to_stride([stride for _, stride in (STEM, *LAYERS)], total_stride)
    channels = _scaled(STEM[0], width)
    yield nn.Sequential(*_convolution(in_channels, channels, 3, first))
    for (wanted, _), stride in zip(LAYERS, strides, strict=True):
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
def mobilenet_v1(
    in_channels: int = 3, classes: int = 10, width: float = 1.0, stride: int = 32
) -> MobileNetV1:
    """MobileNet v1, 4.2M parameters for 1,000 classes at width 1; for images of 28x28 take ``stride=8``."""
    return MobileNetV1(in_channels, classes, width, stride)
