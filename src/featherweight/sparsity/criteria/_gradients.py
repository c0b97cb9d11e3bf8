"""What the criteria that look at gradients share: the parameters, their gradients, and their settings."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.prunable import find_prunable
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.criteria._base import Context

BATCHES = 10


@dataclass(frozen=True)
class OverData:
    """Settings of a criterion that looks at data.

    Attributes:
        batches: how many of ``data=`` are looked at, at most; None: all.

    Raises:
        SettingError: ``batches`` is less than 1.
    """

    batches: int | None = BATCHES

    def __post_init__(self) -> None:
        number = self.batches
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):  # pyright: ignore
            raise SettingError(f"batches is a whole number of at least 1, or None for all, got {number!r}.")

    def check_data(self, data: Any) -> None:
        """Raise SettingError, naming the criterion, if ``data`` are none or have another form."""
        Calibration.of(data, wanted_by=f"criterion={type(self).__name__.lower()!r}")

    def data_of(self, context: Context, name: str) -> Calibration:
        """Return the data of ``context``; raises SettingError, naming the criterion, if there are none."""
        return Calibration.of(context.data, wanted_by=f"criterion={name!r}")


@dataclass(frozen=True, eq=False)
class Leaves:
    """The parameters behind the weights that are scored.

    Attributes:
        model: the network that they belong to.
        tied: by name, the names of the same weight, itself first.
        tensors: by name, the distinct parameters: more than one where parameters share their memory.
    """

    model: nn.Module
    tied: Mapping[str, tuple[str, ...]]
    tensors: Mapping[str, tuple[nn.Parameter, ...]]

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], model: nn.Module) -> Leaves:
        """Find the parameters of ``weights``; raises ModelError if the model has not all of them."""
        named = dict(model.named_parameters(remove_duplicate=False))
        plain = {name.replace("_orig_mod.", ""): name for name in named}
        found = {w.name: (w.name, *w.aliases) for w in find_prunable(model).weights}
        if missing := [name for name in weights if name not in found]:
            raise ModelError(f"{type(model).__name__} has no prunable weight {missing[0]!r} to score.")
        tied = {name: tuple(plain[each] for each in found[name]) for name in weights}
        tensors = {
            name: tuple({id(p := named[n]): p for n in names}.values()) for name, names in tied.items()
        }
        return cls(model, tied, tensors)

    def gradients(self, loss: Tensor, *, graph: bool = False) -> dict[str, Tensor]:
        """Return the gradient of ``loss`` by each weight, float32; 0 where it does not depend on it.

        Args:
            loss: a scalar.
            graph: whether gradients of the gradients will be taken.
        """
        flat = [tensor for tensors in self.tensors.values() for tensor in tensors]
        found = iter(torch.autograd.grad(loss, flat, allow_unused=True, create_graph=graph))
        return {name: _sum(tensors, found) for name, tensors in self.tensors.items()}

    def mean_gradients(self, losses: Generator[Tensor]) -> dict[str, Tensor]:
        """Return the mean over ``losses`` of their gradients, float32; they are closed whatever happens."""
        return self.mean(losses, self.gradients)

    def mean(
        self, losses: Generator[Tensor], of: Callable[[Tensor], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the mean over ``losses`` of what ``of`` makes of each, float32.

        They are closed whatever happens: they hold the network in evaluation mode, and an error that somebody
        keeps would keep them too.
        """
        total, number = self.zeros(), 0
        with closing(losses):
            for loss in losses:
                number += 1
                for name, value in of(loss).items():
                    total[name] += value
        return {name: value / number for name, value in total.items()}

    def zeros(self) -> dict[str, Tensor]:
        """Return a float32 tensor of zeros for each weight."""
        return {
            name: torch.zeros_like(tensors[0], dtype=torch.float32, requires_grad=False)
            for name, tensors in self.tensors.items()
        }


def _sum(tensors: tuple[nn.Parameter, ...], gradients: Iterator[Tensor | None]) -> Tensor:
    total = torch.zeros_like(tensors[0], dtype=torch.float32)
    for _ in tensors:
        gradient = next(gradients)
        total = total if gradient is None else total + gradient.float()
    return total
