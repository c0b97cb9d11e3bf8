"""``--input-shape``: the sizes, types and names of a network's inputs, ``[NAME=]SIZES[:TYPE]`` for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.core.trace import Example
from featherweight.errors import SettingError

_DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
}
FORM = (
    "--input-shape is sizes of at least 1 with commas, such as 1,3,224,224, for token ids 1,128:int64; for "
    "each of several inputs it is given once, by name: --input-shape ids=1,128:int64 --input-shape x=1,8"
)


@dataclass(frozen=True)
class Input:
    """One input of a network.

    Attributes:
        sizes: of its dimensions.
        dtype: name of its type, a key of the types that FORM allows.
        name: of the forward's parameter; "": by its position.
    """

    sizes: tuple[int, ...]
    dtype: str = "float32"
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Input:
        """Return what ``text`` says; raises SettingError if it has another form."""
        head, equals, rest = text.rpartition("=")
        sizes, colon, dtype = rest.partition(":")
        if (equals and not head.isidentifier()) or (colon and dtype not in _DTYPES):
            raise SettingError(f"{FORM}; types are {', '.join(_DTYPES)}. Got {text!r}.")
        try:
            numbers = tuple(int(part) for part in sizes.split(","))
        except ValueError:
            numbers = ()
        if not numbers or min(numbers) < 1:
            raise SettingError(f"{FORM}. Got {text!r}.")
        return cls(numbers, dtype or "float32", head)

    def make(self, generator: torch.Generator) -> Tensor:
        """Return noise for floats; for others ones: in any vocabulary, and a mask that hides nothing."""
        dtype = _DTYPES[self.dtype]
        if dtype.is_floating_point:
            return torch.randn(self.sizes, generator=generator).to(dtype)
        return torch.ones(self.sizes, dtype=dtype)

    @property
    def is_float(self) -> bool:
        """Whether it is noise."""
        return _DTYPES[self.dtype].is_floating_point


def parse_inputs(texts: Sequence[str]) -> tuple[Input, ...]:
    """Return the inputs that ``texts`` describe.

    Raises:
        SettingError: one has another form, some are named and some not, or two have the same name.
    """
    inputs = tuple(map(Input.parse, texts))
    names = [given.name for given in inputs if given.name]
    if len(set(names)) < len(names) or len(names) not in (0, len(inputs)):
        raise SettingError(
            f"--input-shape is given once for each input, all of them with a name or none; got "
            f"{' and '.join(texts)}."
        )
    return inputs


def made_inputs(inputs: Sequence[Input]) -> Example:
    """Return a tensor, several in order, or several by name; the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    tensors = [given.make(generator) for given in inputs]
    if inputs[0].name:
        return {given.name: tensor for given, tensor in zip(inputs, tensors, strict=True)}
    return tensors[0] if len(tensors) == 1 else tuple(tensors)
