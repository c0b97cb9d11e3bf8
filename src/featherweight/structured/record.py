"""What a surgery did, as plain data that is saved with the weights and replayed on a fresh network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featherweight.core.trace import Example, as_arguments
from featherweight.errors import ModelError
from featherweight.structured.attributes import Attributes
from featherweight.structured.cut import Cut, Kept

KEY = "featherweight.surgery"
_ATTRIBUTE = "_featherweight_surgeries"


@dataclass(frozen=True)
class Record:
    """One surgery.

    Attributes:
        kept: for each tensor that got smaller, what stays along each dimension.
        attributes: what was set on which module; None where the rewritten graph was the result.
        example: sizes and types of the inputs that the network was traced with, as JSON values: a list of
            the positional and a mapping of the keyword arguments.
    """

    kept: Mapping[str, Mapping[int, Kept]]
    attributes: Attributes | None
    example: tuple[list[Any], dict[str, Any]]

    @classmethod
    def of(cls, cut: Cut, attributes: Attributes | None, example: Example) -> Record:
        """Return the record of ``cut``."""
        args, kwargs = as_arguments(example)
        specs = [_spec(value) for value in args], {name: _spec(value) for name, value in kwargs.items()}
        return cls(cut.stored, attributes, specs)

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
        return {"axes": list(axes), "kept": kept, "attributes": self.attributes, "example": self.example}

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
            return cls(kept, attributes, (list(args), dict(kwargs)))
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


def _bits(kept: Kept) -> str:
    return f"{len(kept)}:{np.packbits(kept).tobytes().hex()}"


def _from_bits(text: str) -> Kept:
    size, _, digits = text.partition(":")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8)).astype(bool)
    if not 0 <= len(bits) - int(size) < 8:
        raise ValueError(f"{len(bits)} bits for an axis of {size}")
    return bits[: int(size)]


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
