"""What a surgery did, as plain data that is saved with the weights and replayed on a fresh network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featherweight.core.trace import Example, as_arguments
from featherweight.errors import ModelError
from featherweight.structured.attributes import Attributes
from featherweight.structured.cut import Cut, Kept
from featherweight.structured.depth.blocks import Block
from featherweight.structured.depth.skipped import Standing

KEY = "featherweight.surgery"
_ATTRIBUTE = "_featherweight_surgeries"


@dataclass(frozen=True)
class Gone:
    """A block that was removed.

    Attributes:
        name: of it.
        whole: whether it was a whole module, or else a branch.
        tensors: names of the parameters and buffers that only it used.
    """

    name: str
    whole: bool
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """One surgery.

    Attributes:
        kept: for each tensor that got smaller, what stays along each dimension.
        attributes: what was set on which module; None where the rewritten graph was the result.
        example: sizes and types of the inputs that the network was traced with, as JSON values: a list of
            the positional and a mapping of the keyword arguments.
        blocks: what was removed whole; nothing was cut in the same surgery then.
        places: what stands where in its place, if the class stayed.
    """

    kept: Mapping[str, Mapping[int, Kept]]
    attributes: Attributes | None
    example: tuple[list[Any], dict[str, Any]]
    blocks: tuple[Gone, ...] = ()
    places: Mapping[str, Standing] = field(default_factory=dict[str, Standing])

    @classmethod
    def of(cls, cut: Cut, attributes: Attributes | None, example: Example) -> Record:
        """Return the record of ``cut``."""
        return cls(cut.stored, attributes, _specs(example))

    @classmethod
    def of_removal(
        cls, blocks: Sequence[Block], places: Mapping[str, Standing] | None, example: Example
    ) -> Record:
        """Return the record of the removal of ``blocks``; without ``places``, as a rewritten graph."""
        gone = tuple(Gone(block.name, bool(block.module), tuple(sorted(block.tensors))) for block in blocks)
        return cls({}, None if places is None else {}, _specs(example), gone, places or {})

    def inputs(self) -> Example:
        """Return inputs of the sizes and types that the network was traced with.

        Raises:
            ModelError: one was neither a tensor nor a number, string or None.
        """
        args, kwargs = self.example
        return {n: _example(spec) for n, spec in kwargs.items()} if kwargs else [_example(s) for s in args]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values; equal axes are written once."""
        axes: dict[str, int] = {}
        kept = {
            tensor: {str(dim): axes.setdefault(_bits(stay), len(axes)) for dim, stay in dims.items()}
            for tensor, dims in self.kept.items()
        }
        data = {"axes": list(axes), "kept": kept, "attributes": self.attributes, "example": self.example}
        if not self.blocks:
            return data
        places = {path: standing.to_dict() for path, standing in self.places.items()}
        return data | {"blocks": [asdict(block) for block in self.blocks], "places": places}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """Return the record that ``to_dict`` made ``data`` of; raises ModelError if it is anything else."""
        try:
            axes = [_from_bits(text) for text in data["axes"]]
            kept = {
                name: {int(dim): axes[number] for dim, number in dims.items()}
                for name, dims in data["kept"].items()
            }
            attributes = data["attributes"] and {
                path: {name: _tuple(value) for name, value in values.items()}
                for path, values in data["attributes"].items()
            }
            args, kwargs = data["example"]
            blocks = tuple(_gone(block) for block in data.get("blocks", []))
            places = {path: Standing.from_dict(value) for path, value in data.get("places", {}).items()}
            return cls(kept, attributes, (list(args), dict(kwargs)), blocks, places)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"The file's record of a surgery is damaged: {error!r}.") from error


def surgeries_of(model: nn.Module) -> tuple[Record, ...]:
    """Return the surgeries that ``model`` went through, in order."""
    if isinstance(model, torch.fx.GraphModule):  # its copies keep nothing else
        return tuple(model.meta.get(_ATTRIBUTE, ()))
    return tuple(vars(model).get(_ATTRIBUTE, ()))


def remember(model: nn.Module, surgeries: tuple[Record, ...]) -> None:
    """Let ``model``, and its copies, know the surgeries that it went through."""
    if isinstance(model, torch.fx.GraphModule):
        model.meta[_ATTRIBUTE] = surgeries
    else:
        vars(model)[_ATTRIBUTE] = surgeries


def to_json(surgeries: tuple[Record, ...]) -> str:
    """Return surgeries as text."""
    return json.dumps([record.to_dict() for record in surgeries], separators=(",", ":"))


def from_json(text: str) -> tuple[Record, ...]:
    """Return the surgeries that ``to_json`` wrote; raises ModelError if it is anything else."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The file's record of a surgery is damaged: {error}.") from error
    if not isinstance(data, list):
        raise ModelError(f"The file's record of a surgery is damaged: a {type(data).__name__}, not a list.")
    return tuple(Record.from_dict(item) for item in data)  # pyright: ignore


def _gone(data: Mapping[str, Any]) -> Gone:
    return Gone(str(data["name"]), bool(data["whole"]), tuple(str(name) for name in data["tensors"]))


def _bits(kept: Kept) -> str:
    return f"{len(kept)}:{np.packbits(kept).tobytes().hex()}"


def _from_bits(text: str) -> Kept:
    size, _, digits = text.partition(":")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8)).astype(bool)
    if not 0 <= len(bits) - int(size) < 8:
        raise ValueError(f"{len(bits)} bits for an axis of {size}")
    return bits[: int(size)]


def _specs(example: Example) -> tuple[list[Any], dict[str, Any]]:
    args, kwargs = as_arguments(example)
    return [_spec(value) for value in args], {name: _spec(value) for name, value in kwargs.items()}


def _spec(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    return {"unknown": type(value).__name__}


def _example(spec: Mapping[str, Any]) -> Any:
    if "unknown" in spec:
        raise ModelError(
            f"The network was traced with a {spec['unknown']} as input, which the file does not hold. "
            f"Only tensors, numbers, strings and None can be made again."
        )
    if "value" in spec:
        return spec["value"]
    dtype = getattr(torch, spec["dtype"])
    shape = [int(size) for size in spec["shape"]]
    return torch.randn(shape, dtype=dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # pyright: ignore
