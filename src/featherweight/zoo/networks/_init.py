"""How the weights of the zoo's networks are drawn before training, and checks that they share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from featherweight.errors import SettingError


def init_convolutional(model: nn.Module, linear_std: float | None = 0.01) -> None:
    """Initialise a network of convolutions, batch norms and ReLUs in place.

    Convolutions: normal, Kaiming fan-out (He et al. 2015, https://arxiv.org/abs/1502.01852), that is
    ``std = sqrt(2 groups / (outputs kernel_height kernel_width))``; batch norms: scale 1, shift 0; linear
    layers: normal with ``linear_std`` (None: PyTorch's own); biases 0.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # nn.init.kaiming_normal_ forgets the groups: depthwise weights would be sqrt(channels) too small,
            # and a network of many such layers would ignore its input until its norms have settled.
            fan_out = module.out_channels * math.prod(module.kernel_size) / module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
            _zero(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and linear_std is not None:
            nn.init.normal_(module.weight, std=linear_std)
            _zero(module.bias)


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)


def check_images(x: Tensor, channels: int, size: int) -> None:
    """Raise SettingError unless ``x`` is (n, channels, size, size)."""
    if x.ndim != 4 or tuple(x.shape[1:]) != (channels, size, size):
        raise SettingError(
            f"Input of shape {tuple(x.shape)} does not fit: this network was built for "
            f"(n, {channels}, {size}, {size}). Build it with the in_channels and image_size of the data."
        )


def check_positive(**settings: float) -> None:
    """Raise SettingError unless every setting is above zero."""
    for name, value in settings.items():
        if value <= 0:
            raise SettingError(f"{name} must be above 0, got {value}.")


def check_widths(widths: Sequence[int], number: int | None = None) -> None:
    """Raise SettingError unless ``widths`` are whole numbers above 0, ``number`` of them where given."""
    if not widths or any(width < 1 or width != int(width) for width in widths):
        raise SettingError(f"widths are numbers of channels, each at least 1, got {tuple(widths)}.")
    if number is not None and len(widths) != number:
        raise SettingError(f"widths are {number} numbers of channels here, got {tuple(widths)}.")
