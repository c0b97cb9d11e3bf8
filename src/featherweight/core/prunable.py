"""Which weights of a network are pruned, and why the others are left alone.

Pruned by default: floating-point parameters of two or more dimensions that are called a weight
("weight", "weight_ih_l0", "in_proj_weight", ...), in any module but an embedding or a norm. That is
convolutions, linear layers, attention projections and recurrent weights, also those of classes that
we have never seen. Everything else is left alone, and listed with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from featherweight.core.skip import match_skip, names_of_statistics
from featherweight.errors import ModelError

# In these the second dimension of the weight counts the outputs; in all others the first one does.
_OUTPUTS_SECOND = ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "Conv1D")


@dataclass(frozen=True)
class PrunableWeight:
    """One weight tensor that may be pruned.

    Attributes:
        name: its name in the state dict of the unwrapped model, such as "conv1.weight".
        tensor: the parameter itself.
        aliases: its further names, where it is tied.
        is_output: whether it belongs to the network's last layer, whose outputs must not vanish.
        output_dim: the dimension that counts output units.
        groups: of a transposed convolution, where that dimension counts those of one group; else 1.
    """

    name: str
    tensor: nn.Parameter
    aliases: tuple[str, ...]
    is_output: bool
    output_dim: int
    groups: int = 1


@dataclass(frozen=True)
class LeftAlone:
    """A parameter that is not pruned.

    Attributes:
        name: its name in the state dict.
        reason: why, in a few words.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Prunable:
    """The parameters of a network, sorted into those that are pruned and the others."""

    weights: tuple[PrunableWeight, ...]
    left_alone: tuple[LeftAlone, ...]

    @property
    def numel(self) -> int:
        """Number of prunable weights."""
        return sum(weight.tensor.numel() for weight in self.weights)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DataParallel, DistributedDataParallel and torch.compile wrappers."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(model, parallel) or hasattr(model, "_orig_mod"):
        model = model.module if isinstance(model, parallel) else model._orig_mod  # pyright: ignore
    return model


def find_prunable(model: nn.Module, skip: Sequence[str] = ()) -> Prunable:
    """Sort the parameters of ``model`` into prunable ones and others.

    Args:
        model: any module; wrappers are looked through.
        skip: names or patterns (``*``, ``?``, ``[...]``) of parameters or modules to leave alone; the
            name of a module stands for everything inside it. A batch norm may be named that has statistics
            alone.

    Raises:
        SettingError: an entry of ``skip`` matches nothing.
        ModelError: nothing is left to prune, or a parameter has no values yet.
    """
    inner = unwrap(model)
    found = [_Parameter(name, aliases, tensor, owners) for name, aliases, tensor, owners in _tensors(inner)]
    skipped = match_skip(skip, [*(p.names for p in found), *names_of_statistics(inner).values()])
    asked = {name: f"skipped by {pattern!r}" for name, pattern in skipped.items()}
    reasons = {p.name: asked.get(p.name) or _reason_to_leave(p) for p in found}
    pruned = [p for p in found if reasons[p.name] is None]
    left = tuple(LeftAlone(p.name, reason) for p in found if (reason := reasons[p.name]))
    if not pruned:
        raise ModelError(_nothing_left(inner, left))
    return Prunable(tuple(p.as_weight(is_output=p is pruned[-1]) for p in pruned), left)


@dataclass(frozen=True, eq=False)
class _Parameter:
    name: str
    aliases: tuple[str, ...]
    tensor: nn.Parameter
    owners: tuple[nn.Module, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    def as_weight(self, is_output: bool) -> PrunableWeight:
        second = not _class_names(self.owners[0]).isdisjoint(_OUTPUTS_SECOND)
        groups = int(getattr(self.owners[0], "groups", 1)) if second else 1
        return PrunableWeight(self.name, self.tensor, self.aliases, is_output, int(second), groups)


def _tensors(model: nn.Module) -> Iterator[tuple[str, tuple[str, ...], nn.Parameter, tuple[nn.Module, ...]]]:
    """Yield each distinct tensor once with all its names: tied weights are one weight."""
    names: dict[object, list[str]] = {}
    tensors: dict[object, nn.Parameter] = {}
    owners: dict[object, list[nn.Module]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        key = _identity(name, parameter)
        names.setdefault(key, []).append(name.replace("_orig_mod.", ""))
        tensors.setdefault(key, parameter)
        owners.setdefault(key, []).append(model.get_submodule(name.rpartition(".")[0]))
    for key, (first, *others) in names.items():
        yield first, tuple(others), tensors[key], tuple(owners[key])


def _identity(name: str, parameter: nn.Parameter) -> object:
    if isinstance(parameter, UninitializedParameter):
        raise ModelError(
            f"Parameter {name!r} has no values yet (a lazy module). Run the model once before pruning it."
        )
    if parameter.is_meta:
        raise ModelError(
            f"Parameter {name!r} is on the meta device and has no values. Load weights before pruning it."
        )
    if parameter.numel() == 0 or isinstance(parameter.data, nn.Parameter):
        return id(parameter)
    try:
        place = parameter.untyped_storage().data_ptr(), parameter.storage_offset()
    except (RuntimeError, NotImplementedError):  # tensor subclasses without a storage of their own
        return id(parameter)
    return (*place, tuple(parameter.shape), parameter.stride()) if place[0] else id(parameter)


def _reason_to_leave(parameter: _Parameter) -> str | None:  # noqa: PLR0911 - one line a reason
    tensor = parameter.tensor
    for owner, name in zip(parameter.owners, parameter.names, strict=True):
        kinds = " ".join(_class_names(owner))
        if "Embedding" in kinds:
            return "embedding" if len(parameter.owners) == 1 else f"tied to the embedding {name!r}"
        if "Norm" in kinds:
            return "norm"
    if ".parametrizations." in f".{parameter.name}":
        return "parametrised: remove the parametrisation first (torch.nn.utils.parametrize)"
    if stem := _computed(parameter):
        return f"parametrised: {stem!r} is computed from it: remove weight_norm, spectral_norm or prune first"
    if tensor.numel() == 0:
        return "empty"
    if not tensor.is_floating_point():
        return f"not floating point ({tensor.dtype})"
    if tensor.ndim < 2:
        return "bias or scale (one dimension)"
    if "weight" not in parameter.name.rpartition(".")[2]:
        return f"used directly by {type(parameter.owners[0]).__name__} (not called a weight)"
    return None if tensor.requires_grad else "frozen (requires_grad is False)"


def _class_names(module: nn.Module) -> set[str]:
    """Return the names of the module's class and of torch's layers that it inherits from."""
    kinds = type(module).__mro__
    return {kind.__name__ for kind in kinds if kind is kinds[0] or kind.__module__.startswith("torch.nn.")}


def _computed(parameter: _Parameter) -> str | None:
    """Return the tensor that hooks of torch.nn.utils (weight_norm, spectral_norm, prune) make of it."""
    stem = parameter.name.rpartition(".")[2].rpartition("_")[0]
    return stem if isinstance(vars(parameter.owners[0]).get(stem), Tensor) else None


def _nothing_left(model: nn.Module, left: Sequence[LeftAlone]) -> str:
    reasons = "; ".join(f"{item.name}: {item.reason}" for item in left[:5])
    more = f"; and {len(left) - 5} more" if len(left) > 5 else ""
    return f"{type(model).__name__} has no weight to prune. Left alone: {reasons or 'no parameters'}{more}."


def units(weight: Tensor, output_dim: int) -> Tensor:
    """Return ``weight`` as (outputs, everything else), a view where possible."""
    return torch.movedim(weight, output_dim, 0).flatten(1)
