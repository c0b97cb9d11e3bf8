"""MobileNet v2 (Sandler et al. 2018, table 2, https://arxiv.org/abs/1801.04381): inverted residuals.

Parameters are named as in torchvision, so that weights published for it can be loaded.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.zoo._registry import networks
from featherweight.zoo.networks._init import check_positive, init_convolutional
from featherweight.zoo.networks._scaling import to_eights, to_stride

STEM = (32, 2)  # channels and stride of the first convolution
# (expansion, channels, blocks, stride of the first block) of each stage
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
LAST = 1280


class InvertedResidual(nn.Module):
    """1x1 up, 3x3 depthwise, linear 1x1 down; ``(n, c, h, w) -> (n, out, h / stride, w / stride)``."""

    def __init__(self, channels: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        up = [] if expansion == 1 else [_convolution(channels, hidden, 1)]
        self.conv = nn.Sequential(
            *up,
            _convolution(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.has_shortcut = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """17 inverted residuals; ``(n, in_channels, h, w) -> (n, classes)`` for any h, w >= ``stride``.

    Args:
        in_channels: channels of an image.
        classes: number of outputs.
        width: factor of the channels of every layer, above 0; they are multiples of 8, and the last
            convolution has no fewer than at width 1.
        stride: pixels of the image for one of the last map: 32, 16, 8, 4, 2 or 1; see MobileNetV1.
    """

    def __init__(self, in_channels: int = 3, classes: int = 10, width: float = 1.0, stride: int = 32) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, classes=classes, width=width)
        self.features = nn.Sequential(*_layers(in_channels, width, stride))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(_last(width), classes))
        init_convolutional(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1))


def _layers(in_channels: int, width: float, total_stride: int) -> Iterator[nn.Module]:
    first, *strides = to_stride([STEM[1], *(stride for *_, stride in STAGES)], total_stride)
    channels = to_eights(STEM[0] * width)
    yield _convolution(in_channels, channels, 3, first)
    for (expansion, wanted, blocks, _), stride in zip(STAGES, strides, strict=True):
        out = to_eights(wanted * width)
        for number in range(blocks):
            yield InvertedResidual(channels, out, 1 if number else stride, expansion)
            channels = out
    yield _convolution(channels, _last(width), 1)


def _last(width: float) -> int:
    return to_eights(LAST * max(1.0, width))


def _convolution(ins: int, outs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(ins, outs, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outs),
        nn.ReLU6(inplace=True),
    )


@networks.register("mobilenet_v2")
def mobilenet_v2(
    in_channels: int = 3, classes: int = 10, width: float = 1.0, stride: int = 32
) -> MobileNetV2:
    """MobileNet v2, 3.5M parameters for 1,000 classes at width 1; for images of 28x28 take ``stride=8``."""
    return MobileNetV2(in_channels, classes, width, stride)
