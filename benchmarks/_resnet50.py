"""ResNet-50 (He et al. 2015), 25.6M parameters: layers only, for benchmarks that need its weights' shapes."""

from __future__ import annotations

from torch import nn


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions, each with batch norm, and a projection where shapes change."""

    def __init__(self, ins: int, width: int, project: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(ins, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(ins, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
            )


class ResNet50(nn.Module):
    """Names and shapes of torchvision's resnet50; it has no forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, bias=False), nn.BatchNorm2d(64)
        ins = 64
        for number, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
            blocks = [Bottleneck(ins if i == 0 else 4 * width, width, project=i == 0) for i in range(depth)]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            ins = 4 * width
        self.fc = nn.Linear(2048, 1000)
