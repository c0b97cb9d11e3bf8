"""LeNet-300-100, the fully connected network of pruning papers (LeCun et al. 1998, section III.C.4,
http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf; with ReLU as in https://arxiv.org/abs/1506.02626).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.zoo._registry import networks
from featherweight.zoo.networks._init import check_images, check_positive


class LeNet300100(nn.Module):
    """Three linear layers; ``(n, in_channels, image_size, image_size) -> (n, classes)``."""

    def __init__(self, in_channels: int = 1, classes: int = 10, image_size: int = 28) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, classes=classes, image_size=image_size)
        self.in_channels, self.image_size = in_channels, image_size
        self.fc1 = nn.Linear(in_channels * image_size**2, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, classes)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels, self.image_size)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


@networks.register("lenet_300_100")
def lenet_300_100(in_channels: int = 1, classes: int = 10, image_size: int = 28) -> LeNet300100:
    """LeNet-300-100, 0.27M parameters for 28x28 images."""
    return LeNet300100(in_channels, classes, image_size)
