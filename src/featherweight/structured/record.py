"""What a surgery did, as plain data that is saved with the weights and replayed on a fresh network."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from featherweight.core.trace import Example
from featherweight.errors import ModelError
from featherweight.structured import plain
from featherweight.structured.attributes import Attributes
from featherweight.structured.cut import Cut, Kept
from featherweight.structured.depth.blocks import Block
from featherweight.structured.depth.skipped import Standing
from featherweight.structured.recorded_inputs import (
    entries,
    made,
    specs_from,
    specs_of,
    tensors_in,
    unknown_in,
)

KEY = "featherweight.surgery"
_ATTRIBUTE = "_featherweight_surgeries"
_MOST_ENTRIES = 2**22  # of the inputs that a file may ask for, all together

# Tells surgeries apart, and says which was first, also of those that several processes did.
_numbers = itertools.count(time.time_ns())


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
            the positional and a mapping of the keyword arguments; see ``recorded_inputs``.
        blocks: what was removed whole; nothing was cut in the same surgery then.
        places: what stands where in its place, if the class stayed.
        within: path of the submodule that it was done on; all names are those within it.
        number: higher than those of the surgeries before; not saved, where they are in order.
    """

    kept: Mapping[str, Mapping[int, Kept]]
    attributes: Attributes | None
    example: tuple[list[Any], dict[str, Any]]
    blocks: tuple[Gone, ...] = ()
    places: Mapping[str, Standing] = field(default_factory=dict[str, Standing])
    within: str = ""
    number: int = field(default_factory=lambda: next(_numbers), compare=False)

    @classmethod
    def of(cls, cut: Cut, attributes: Attributes | None, example: Example) -> Record:
        """Return the record of ``cut``."""
        return cls(cut.stored, attributes, specs_of(example))

    @classmethod
    def of_removal(
        cls, blocks: Sequence[Block], places: Mapping[str, Standing] | None, example: Example
    ) -> Record:
        """Return the record of the removal of ``blocks``; without ``places``, as a rewritten graph."""
        gone = tuple(Gone(block.name, bool(block.module), tuple(sorted(block.tensors))) for block in blocks)
        return cls({}, None if places is None else {}, specs_of(example), gone, places or {})

    def inputs(self, max_bytes: int | None = None) -> Example:
        """Return inputs of the sizes and types that the network was traced with.

        Args:
            max_bytes: what they may take, in bytes; None: 2**22 entries, all together.

        Raises:
            ModelError: one cannot be made again, or they are too large.
        """
        args, kwargs = self.example
        specs = [spec for value in (*args, *kwargs.values()) for spec in tensors_in(value)]
        if max_bytes is None:
            size = sum(entries(spec) for spec in specs)
            too_large = size > _MOST_ENTRIES
            found, limit = f"{size:,} entries", f"{_MOST_ENTRIES:,}"
        else:
            size = sum(entries(spec) * getattr(torch, spec["dtype"]).itemsize for spec in specs)
            too_large = size > max_bytes
            found, limit = f"{size:,} bytes", f"max_bytes={max_bytes:,}"
        if too_large:
            raise ModelError(
                f"The network was traced with inputs of {found}; {limit} at most are made for a file. If you "
                f"trust it, give a larger max_bytes; or cut the network with smaller example inputs."
            )
        return {n: made(spec) for n, spec in kwargs.items()} if kwargs else [made(s) for s in args]

    def check_can_be_saved(self) -> None:
        """Raise ModelError where loading needs the example inputs, and they cannot be written."""
        args, kwargs = self.example
        unknown = [word for value in (*args, *kwargs.values()) for word in unknown_in(value)]
        if self.attributes is None and unknown:
            raise ModelError(
                f"The network was cut to a graph with a {unknown[0]} as input, which no file holds; it "
                f"could not be loaded again. Tensors, numbers, strings, None, and lists, tuples and mappings "
                f"of those can be written: cut it with such example inputs. fw.save(model.state_dict(), ...) "
                f"saves the tensors alone."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values; equal axes are written once."""
        axes: dict[str, int] = {}
        kept = {
            tensor: {str(dim): axes.setdefault(_bits(stay), len(axes)) for dim, stay in dims.items()}
            for tensor, dims in self.kept.items()
        }
        data = {"axes": list(axes), "kept": kept, "attributes": self.attributes, "example": self.example}
        data |= {"within": self.within} if self.within else {}
        if not self.blocks:
            return data
        places = {path: standing.to_dict() for path, standing in self.places.items()}
        return data | {"blocks": [asdict(block) for block in self.blocks], "places": places}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """Return the record that ``to_dict`` made ``data`` of; raises ModelError if it is anything else."""
        try:
            return cls(
                _kept_from(data),
                None if data["attributes"] is None else _attributes_from(data["attributes"]),
                specs_from(data["example"]),
                tuple(_gone(block) for block in plain.items(data.get("blocks", []))),
                {p: Standing.from_dict(v) for p, v in plain.mapping(data.get("places", {})).items()},
                plain.word(data.get("within", "")),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"The file's record of a surgery is damaged: {error!r}.") from error


def surgeries_of(model: nn.Module) -> tuple[Record, ...]:
    """Return the surgeries that ``model`` and its submodules went through, in order."""
    found: dict[tuple[str, int], Record] = {}
    for path, module in model.named_modules():
        steps = [step for step in path.split(".") if step and step != "_orig_mod"]
        for record in _remembered_by(module):
            within = ".".join([*steps, record.within] if record.within else steps)
            found.setdefault((within, record.number), replace(record, within=within))
    return tuple(sorted(found.values(), key=lambda record: record.number))


def _remembered_by(module: nn.Module) -> tuple[Record, ...]:
    if isinstance(module, torch.fx.GraphModule):  # its copies keep nothing else
        return tuple(module.meta.get(_ATTRIBUTE, ()))
    return tuple(vars(module).get(_ATTRIBUTE, ()))


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


def _kept_from(data: Mapping[str, Any]) -> dict[str, dict[int, Kept]]:
    axes = [_from_bits(plain.word(text)) for text in plain.items(data["axes"])]
    return {
        name: {plain.count(int(dim)): axes[plain.count(axis)] for dim, axis in plain.mapping(dims).items()}
        for name, dims in plain.mapping(data["kept"]).items()
    }


def _attributes_from(data: Any) -> Attributes:
    return {
        path: {name: plain.sizes(value) for name, value in plain.mapping(values).items()}
        for path, values in plain.mapping(data).items()
    }


def _gone(data: Any) -> Gone:
    names = tuple(plain.word(name) for name in plain.items(data["tensors"]))
    return Gone(plain.word(data["name"]), plain.flag(data["whole"]), names)


def _bits(kept: Kept) -> str:
    return f"{len(kept)}:{np.packbits(kept).tobytes().hex()}"


def _from_bits(text: str) -> Kept:
    size, _, digits = text.partition(":")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8)).astype(bool)
    if not 0 <= len(bits) - plain.count(int(size)) < 8:
        raise ValueError(f"{len(bits)} bits for an axis of {size}")
    return bits[: int(size)]
