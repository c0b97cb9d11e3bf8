"""State dicts to and from compact files: the bridge from torch to featherweight.artifact."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featherweight import artifact
from featherweight.artifact import Array, WriteReport
from featherweight.artifact.rounding import Values
from featherweight.core.prunable import unwrap
from featherweight.errors import ModelError

_DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.complex64: "C64",
}
_TORCH = {name: dtype for dtype, name in _DTYPES.items()}


def write_state(
    model: nn.Module | Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    values: Values = "fp32",
    metadata: Mapping[str, str] | None = None,
) -> WriteReport:
    """Write the state dict of a model, or one that is given, whole or not at all.

    Raises:
        ModelError: a tensor is sparse, quantized, on the meta device, or of a dtype that the file has not.
        SettingError: ``values`` is none of the choices.
        ArtifactError: the file cannot be written.
    """
    state = unwrap(model).state_dict() if isinstance(model, nn.Module) else model
    return artifact.write(path, _arrays(state), values=values, metadata=metadata)


def read_state(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> dict[str, Tensor]:
    """Return the tensors of a file, on the CPU; raises ArtifactError if it is malformed."""
    return _tensors(artifact.read(path, max_bytes=max_bytes).tensors)


def fill_state(model: nn.Module, path: str | os.PathLike[str], *, max_bytes: int | None = None) -> None:
    """Copy the tensors of a file into ``model``, all or none.

    Raises:
        ArtifactError: the file cannot be read or is malformed.
        ModelError: names or shapes of the file are not those of the model, which is then unchanged.
    """
    _fill(unwrap(model), read_state(path, max_bytes=max_bytes), repr(os.fspath(path)))


def _plain(name: str) -> str:
    """Return a name as it is without compiled submodules."""
    return name.replace("_orig_mod.", "")


def _arrays(state: Mapping[str, Any]) -> dict[str, Array]:
    """Turn tensors into Arrays; tensors that are the same memory become the same Array."""
    made: dict[tuple[object, ...], Array] = {}
    arrays: dict[str, Array] = {}
    for name, value in state.items():
        tensor = _checked(name, value)
        same = _identity(tensor) if tensor.numel() else (name,)
        if same not in made:
            made[same] = _array(tensor)
        arrays[_plain(name)] = made[same]
    return arrays


def _checked(name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise ModelError(
            f"State {name!r} is a {type(value).__name__}, only tensors can be saved. Keep it as metadata, or "
            "give save() a state dict without it."
        )
    if hasattr(value, "full_tensor"):
        raise ModelError(
            f"Tensor {name!r} is spread over processes. Gather it first, with its full_tensor()."
        )
    if value.layout is not torch.strided or value.is_quantized or value.is_meta or value.dtype not in _DTYPES:
        raise ModelError(
            f"Tensor {name!r} ({value.dtype}, {value.layout}, on {value.device}) cannot be saved: expected a "
            f"strided tensor with values, of one of {', '.join(str(dtype) for dtype in _DTYPES)}."
        )
    return value.detach()


def _identity(tensor: Tensor) -> tuple[object, ...]:
    memory = tensor.data_ptr()
    return (tensor.device, memory, tensor.dtype, tuple(tensor.shape), tensor.stride())


def _array(tensor: Tensor) -> Array:
    plain = tensor.resolve_conj().resolve_neg().cpu().contiguous()
    data = plain.reshape(-1).view(torch.uint8) if plain.numel() else torch.empty(0, dtype=torch.uint8)
    return Array(_DTYPES[tensor.dtype], tuple(tensor.shape), data.numpy())


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Turn Arrays into tensors of their own memory; one Array under two names becomes one tensor."""
    made: dict[int, Tensor] = {}
    return {name: made.setdefault(id(array), _tensor(array)) for name, array in arrays.items()}


def _tensor(array: Array) -> Tensor:
    if not array.data.size:
        return torch.empty(array.shape, dtype=_TORCH[array.dtype])
    return torch.from_numpy(np.array(array.data)).view(_TORCH[array.dtype]).reshape(array.shape)


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy ``tensors`` into ``model``, all or none."""
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    names = {_plain(name): name for name in own}
    problems = _mismatches({plain: own[name] for plain, name in names.items()}, tensors)
    if problems:
        raise ModelError(
            f"{where} does not fit {type(model).__name__}: {'; '.join(problems)}. Build the module with the "
            "arguments that it was saved with, or load the state dict (no into=) and rename. "
            "Nothing was changed."
        )
    before = {name: value.clone() for name, value in own.items()}
    try:
        model.load_state_dict({names[plain]: value for plain, value in tensors.items()}, strict=True)
    except BaseException:
        for name, value in own.items():
            value.copy_(before[name])
        raise


def _mismatches(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    both = [name for name in own if name in tensors]
    found = {
        "missing in the file": [name for name in own if name not in tensors],
        "unexpected in the file": [name for name in tensors if name not in own],
        "of another shape": [
            f"{name} {list(tensors[name].shape)} in the file, {list(own[name].shape)} in the module"
            for name in both
            if tensors[name].shape != own[name].shape
        ],
        "of another kind": [
            f"{name} {tensors[name].dtype} in the file, {own[name].dtype} in the module"
            for name in both
            if not _castable(tensors[name].dtype, own[name].dtype)
        ],
        "on the meta device, where nothing can be filled (call to_empty(device=...) first)": [
            name for name in both if own[name].is_meta
        ],
    }
    return [f"{words}: {_some(names)}" for words, names in found.items() if names]


def _castable(source: torch.dtype, target: torch.dtype) -> bool:
    """Whether copying keeps what the values mean: floats into floats, everything else only into its own."""
    return source == target or (source.is_floating_point and target.is_floating_point)


def _some(items: list[str]) -> str:
    return ", ".join(items[:8]) + (f" and {len(items) - 8} more" if len(items) > 8 else "")
