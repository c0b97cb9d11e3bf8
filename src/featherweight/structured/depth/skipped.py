"""What takes the place of modules that are bypassed, so that a network keeps its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.errors import ModelError
from featherweight.structured import plain

_LONGEST = 64  # tuples that a module returns


@dataclass(frozen=True)
class Standing:
    """How a module stands for another: plain data.

    Attributes:
        argument: place or name of the argument that it returns.
        length: None where the other returned a tensor, or the length of the tuple that it returned; all
            entries but the first are None then.
        zeros: whether zeros of the argument's sizes are returned in its place.
        tensors: names of the parameters and buffers that the other one had.
    """

    argument: int | str
    length: int | None
    zeros: bool
    tensors: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"tensors": list(self.tensors)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Standing:
        """Return what ``to_dict`` made ``data`` of; raises ValueError if it is anything else."""
        argument, length = data["argument"], data["length"]
        argument = argument if isinstance(argument, str) else plain.count(argument)
        if length is not None and not 1 <= plain.count(length) <= _LONGEST:
            raise ValueError(f"no module returns a tuple of {length}")
        tensors = tuple(plain.word(name) for name in plain.items(data["tensors"]))
        return cls(argument, length, plain.flag(data["zeros"]), tensors)


class Skipped(nn.Module):
    """Returns one of its arguments, or zeros like it, as the module did that it stands for."""

    def __init__(self, standing: Standing) -> None:
        super().__init__()
        self.standing = standing

    @classmethod
    def of(cls, module: nn.Module, standing: Standing) -> Skipped:
        """Return one for ``module``, with the numbers and words that its parent may ask it for."""
        skipped = cls(standing)
        for name, value in vars(module).items():
            if not name.startswith("_") and (value is None or isinstance(value, bool | int | float | str)):
                setattr(skipped, name, value)
        return skipped

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the argument, alone or first in a tuple."""
        how = self.standing
        value: Tensor = args[how.argument] if isinstance(how.argument, int) else kwargs[how.argument]
        if how.zeros:
            value = torch.zeros_like(value)
        return value if how.length is None else (value, *(None for _ in range(how.length - 1)))

    def extra_repr(self) -> str:
        """Return how it is shown."""
        return f"{self.standing.argument!r}, zeros={self.standing.zeros}"


def put(model: nn.Module, places: Mapping[str, Standing]) -> dict[str, nn.Module]:
    """Put modules that stand for others into ``model``; return the others."""
    before = {path: model.get_submodule(path) for path in places}
    for path, standing in places.items():
        skipped = Skipped.of(before[path], standing)
        skipped.train(before[path].training)
        set_module(model, path, skipped)
    return before


def put_back(model: nn.Module, before: Mapping[str, nn.Module]) -> None:
    """Undo ``put``."""
    for path, module in before.items():
        set_module(model, path, module)


def set_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Let ``model`` hold ``module`` at a path that it has."""
    parent, _, own = path.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def check_places(model: nn.Module, places: Mapping[str, Standing]) -> None:
    """Raise ModelError unless ``model`` has the modules, with the tensors, that were taken out of another."""
    modules = dict(model.named_modules())
    for path, standing in places.items():
        module = modules.get(path) if path else None  # the network itself is no block of it
        names = None if module is None else tuple(name for name in module.state_dict())
        if names is None or set(names) != set(standing.tensors):
            found = "no such module" if names is None else f"one that holds {', '.join(names) or 'nothing'}"
            raise ModelError(
                f"{type(model).__name__} is not what the surgery was done on: block {path} was removed, "
                f"which held {', '.join(standing.tensors)}; here is {found}. Make it with the class and the "
                f"arguments of then. Nothing was changed."
            )
