"""The masks of a whole network: applied, checked, saved, loaded, recovered from zeros."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from featherweight.artifact.atomic import replacing
from featherweight.core.mask import Mask
from featherweight.core.prunable import LeftAlone, find_prunable, unwrap
from featherweight.errors import MaskError

_FORMAT = "featherweight.masks.1"


class Masks(Mapping[str, Mask]):
    """The masks of a network by parameter name, and what was left alone.

    Names are those of the unwrapped model's state dict; a tied weight has one mask, under its first name.
    """

    def __init__(self, masks: Mapping[str, Mask], left_alone: Sequence[LeftAlone] = ()) -> None:
        self._masks = dict(masks)
        self.left_alone = tuple(left_alone)

    def __getitem__(self, name: str) -> Mask:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    @property
    def numel(self) -> int:
        """Number of masked entries, kept or not."""
        return sum(mask.numel for mask in self.values())

    @property
    def kept(self) -> int:
        """Number of entries that are kept."""
        return sum(mask.kept for mask in self.values())

    @property
    def sparsity(self) -> float:
        """Fraction of the masked entries that are zero, 0..1."""
        return 1 - self.kept / self.numel if self.numel else 0.0

    def __str__(self) -> str:
        width = max((len(name) for name in self), default=0)
        rows = [f"{name:<{width}}  {m.sparsity:7.2%} of {m.numel:,}" for name, m in self.items()]
        left = [f"left alone: {item.name} ({item.reason})" for item in self.left_alone]
        return "\n".join([f"{self.sparsity:.2%} of {self.numel:,} weights are zero", *rows, *left])

    def apply(self, model: nn.Module) -> None:
        """Set the masked weights of ``model`` to zero, in place; raises MaskError before anything changes."""
        for weight, pruned in self.bind(model):
            zero_(weight, pruned)
        torch.clear_autocast_cache()  # within the caller's autocast, which has rounded what was there before

    def bind(self, model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
        """Return each masked parameter with the bool tensor of what is pruned, on the parameter's device.

        Raises:
            MaskError: ``model`` lacks a masked parameter, or its shape is another one.
        """
        parameters = dict(unwrap(model).named_parameters(remove_duplicate=False))
        parameters = {name.replace("_orig_mod.", ""): p for name, p in parameters.items()}
        bound: list[tuple[nn.Parameter, Tensor]] = []
        for name, mask in self.items():
            if name not in parameters:
                raise MaskError(
                    f"The model has no parameter {name!r} that a mask is for. Is it another model?"
                )
            if (shape := tuple(parameters[name].shape)) != tuple(mask.keep.shape):
                raise MaskError(
                    f"{name}: the mask has shape {tuple(mask.keep.shape)}, the parameter {shape}."
                )
            bound.append((parameters[name], _like(parameters[name], ~mask.keep)))
        return bound

    def check(self, model: nn.Module) -> None:
        """Raise MaskError, naming the layers, if a weight that is masked is not zero."""
        broken = [
            f"{name}: {count} of {int(pruned.sum())}"
            for name, (weight, pruned) in zip(self, self.bind(model), strict=True)
            if (count := int((weight.detach()[pruned] != 0).sum()))
        ]
        if broken:
            raise MaskError(
                f"Masked weights are not zero in {len(broken)} layers ({'; '.join(broken[:5])}). "
                f"Was the pruner attached to the optimizer? masks.apply(model) zeroes them again."
            )

    @classmethod
    def from_zeros(cls, model: nn.Module, skip: Sequence[str] = ()) -> Masks:
        """Return the masks that the zeros of ``model`` make, such as after loading a pruned network."""
        prunable = find_prunable(model, skip)
        return cls({w.name: Mask(w.tensor.detach() != 0) for w in prunable.weights}, prunable.left_alone)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the masks to a safetensors file, a bit an entry; written whole or not at all."""
        packed = {name: _pack(mask.keep) for name, mask in self.items()}
        meta = {
            "format": _FORMAT,
            "shapes": json.dumps({name: list(mask.keep.shape) for name, mask in self.items()}),
            "left_alone": json.dumps([[item.name, item.reason] for item in self.left_alone]),
        }
        with replacing(path) as file:
            file.write(safetensors_bytes(packed, meta))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Masks:
        """Read masks that ``save`` wrote; raises MaskError if the file holds anything else."""
        try:
            with safe_open(Path(path), "pt") as file:
                meta = file.metadata() or {}
                if meta.get("format") != _FORMAT:
                    raise MaskError(f"{path} holds no masks: its format is {meta.get('format')!r}.")
                shapes = json.loads(meta["shapes"])
                masks = {name: Mask(_unpack(file.get_tensor(name), shapes[name])) for name in shapes}
                left = [LeftAlone(name, reason) for name, reason in json.loads(meta["left_alone"])]
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise MaskError(f"{path} is not a valid file of masks: {error}.") from error
        return cls(masks, left)


def zero_(weight: Tensor, pruned: Tensor) -> None:
    """Set ``weight`` to +0 where ``pruned``, in place; a product would leave -0 and NaN behind."""
    with torch.no_grad():
        weight.masked_fill_(pruned, 0)


def _like(parameter: Tensor, mask: Tensor) -> Tensor:
    """Return ``mask`` on the device and in the memory order of ``parameter``: applied quickest that way."""
    placed = torch.empty_like(parameter, dtype=torch.bool, requires_grad=False)
    return placed.copy_(mask)


def _pack(keep: Tensor) -> Tensor:
    flat = keep.cpu().reshape(-1).to(torch.uint8)
    bits = torch.nn.functional.pad(flat, (0, -len(flat) % 8)).view(-1, 8)
    return (bits << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def _unpack(packed: Tensor, shape: Sequence[int]) -> Tensor:
    numel = 1
    for size in shape:
        numel *= size
    if packed.dtype != torch.uint8 or packed.ndim != 1 or len(packed) != -(-numel // 8):
        raise ValueError(
            f"a mask of shape {tuple(shape)} takes {-(-numel // 8)} bytes, found {tuple(packed.shape)}"
        )
    bits = (packed.view(-1, 1) >> torch.arange(8, dtype=torch.uint8)) & 1
    return bits.view(-1)[:numel].bool().view(tuple(shape))
