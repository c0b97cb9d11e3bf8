"""From the shape of a student's feature to that of the teacher's.

A feature is a vector (n, width), tokens (n, tokens, width) or a map (n, channels, height, width). With R,
which rearranges positions and learns nothing, and W and b, which mix channels at each position::

    y = W R(x) + b

- R, map to map: adaptive average pooling to the teacher's height and width; nothing where they are equal.
  Downwards it averages. Upwards it repeats values, which gives a squared error the gradient of a comparison
  with the means of the teacher's blocks: nothing is asked that a coarse map cannot hold.
- R, tokens to tokens: nothing where there are equally many. Else both must be square grids, s*s or 1 + s*s
  tokens (a class token comes first), which are resized like maps. The class token is no part of the grid: it
  stays as it is, goes where the teacher has none, and is the mean of the grid where only the teacher has one.
- R, tokens to map and map to tokens: as above, the tokens being a grid.
- R, map or tokens to vector: the mean over all positions (of tokens: over those that are not padding).
- W, b: one ``Linear`` on channels; on a map this is a 1x1 convolution. There is no batch norm: with it the
  loss of an example would hang on the other examples, and a batch of one vector could not be trained on.
  Means and channel mixing commute, so that R comes first, where it is cheaper.

Where both have the same width, W starts as the identity (equal networks start at no distance), else as
``Linear`` does. Weights come from a seed, not from torch's global generator: they are the same in every
process, and making them does not change what the training draws.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.errors import ModelError

KINDS = {2: "vector", 3: "tokens", 4: "map"}


class Projector(nn.Module):
    """A learnt map from features of one shape to another.

    Attributes:
        source: the student's shape that it was made for, batch first.
        target: the teacher's shape that it was made for, batch first.
        mix: the learnt part: a Linear, or Identity.
    """

    def __init__(
        self, source: Sequence[int], target: Sequence[int], *, identity: bool = False, seed: int = 0
    ) -> None:
        """Make one for a pair of shapes, batch first; sizes of the batch do not matter.

        Args:
            source: shape of the student's feature.
            target: shape of the teacher's feature.
            identity: learn nothing where the widths are equal.
            seed: of the weights, together with the shapes.

        Raises:
            ModelError: there is no way from one shape to the other; names both and says why.
        """
        super().__init__()
        self.source, self.target = tuple(source), tuple(target)
        rearranged(torch.empty(self.source, device="meta"), self.target)
        width, wanted = width_of(self.source), width_of(self.target)
        self.mix: nn.Module = nn.Identity()
        if not (identity and width == wanted):
            self.mix = _linear(width, wanted, seed)

    def forward(self, x: Tensor, like: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return ``x`` in the teacher's shape, in float32 (float64 where it has that already).

        Args:
            x: the student's feature.
            like: the teacher's, where positions may be others than at construction (images of other sizes,
                sentences of other lengths).
            mask: (n, tokens), True where a token is not padding; only a mean over tokens reads it.
        """
        target = self.target if like is None else tuple(like.shape)
        y: Tensor = self.mix(rearranged(in_float32(x), target, mask))
        return y.movedim(-1, 1) if len(target) == 4 else y

    def extra_repr(self) -> str:
        """Return both shapes, for print."""
        return f"{self.source} -> {self.target}"


def _linear(width: int, wanted: int, seed: int) -> nn.Linear:
    own = zlib.crc32(f"{seed} {width} {wanted}".encode())
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(own)
        linear = nn.Linear(width, wanted, dtype=torch.float32)
        if width == wanted:
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)
    return linear


def in_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or as it is where it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


def width_of(shape: Sequence[int]) -> int:
    """Return the number of channels of a feature of ``shape``, batch first."""
    return shape[1] if len(shape) == 4 else shape[-1]


def grid_of(shape: Sequence[int]) -> tuple[int, int, bool] | None:
    """Return height and width of a map or a square grid of tokens, and whether a class token comes first.

    None: the feature is no grid.
    """
    if len(shape) == 4:
        return shape[2], shape[3], False
    for has_class in (False, True):
        side = isqrt(max(shape[1] - has_class, 0))
        if len(shape) == 3 and side > 0 and side * side + has_class == shape[1]:
            return side, side, has_class
    return None


def as_map(x: Tensor) -> Tensor:
    """Return a map, or tokens that are a square grid as one (n, channels, side, side), without a class token.

    Raises:
        ModelError: it is neither; says what it is.
    """
    grid = grid_of(x.shape)
    if grid is None:
        raise ModelError(f"A feature is {described(x.shape)}, and a map is compared here: {_NO_GRID}.")
    height, width, has_class = grid
    return x if x.ndim == 4 else x[:, has_class:].mT.unflatten(2, (height, width))


def rearranged(x: Tensor, target: Sequence[int], mask: Tensor | None = None) -> Tensor:
    """Return ``x`` at the positions of ``target``, with its own channels, which come last.

    Raises:
        ModelError: there is no way from one shape to the other.
    """
    _check_kinds(x.shape, target)
    if len(target) == 2:
        return _pooled(x, mask)
    if x.ndim == len(target) == 3 and x.shape[1] == target[1]:
        return x
    own, goal = grid_of(x.shape), grid_of(target)
    if own is None or goal is None:
        raise _impossible(x.shape, target, _NO_GRID)
    image = resized(as_map(x), goal[:2])
    if len(target) == 4:
        return image.movedim(1, -1)
    tokens = image.flatten(2).mT
    if not goal[2]:
        return tokens
    return torch.cat([x[:, :1] if own[2] else tokens.mean(1, keepdim=True), tokens], 1)


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (n, channels, height, width) at another size, by adaptive average pooling."""
    return image if image.shape[2:] == size else F.adaptive_avg_pool2d(image, size)


def _pooled(x: Tensor, mask: Tensor | None) -> Tensor:
    if x.ndim != 3 or mask is None:
        return x.flatten(2).mean(2) if x.ndim == 4 else x.mean(1) if x.ndim == 3 else x
    if mask.shape != x.shape[:2]:
        raise ModelError(
            f"The mask of padding is {tuple(mask.shape)}, and the feature is {described(x.shape)}."
        )
    kept = x.masked_fill(~mask[:, :, None], 0)
    return kept.sum(1) / mask.sum(1, keepdim=True).clamp_min(1)


def _check_kinds(source: Sequence[int], target: Sequence[int]) -> None:
    for shape in (source, target):
        if len(shape) not in KINDS:
            raise _impossible(source, target, f"features have 2, 3 or 4 dimensions, and one has {len(shape)}")
    if len(source) == 2 and len(target) > 2:
        raise _impossible(source, target, "a vector has no positions")


def described(shape: Sequence[int]) -> str:
    """Return a shape in words, "map (8, 16, 4, 4)"."""
    return f"{KINDS.get(len(shape), 'a tensor')} {tuple(shape)}"


_NO_GRID = "tokens are read as a map where they are a square grid, s*s or 1 + s*s of them"


def _impossible(source: Sequence[int], target: Sequence[int], why: str) -> ModelError:
    return ModelError(
        f"No projector leads from the student's {described(source)} to the teacher's {described(target)}: "
        f"{why}. Give a pair in features= that can be compared."
    )
