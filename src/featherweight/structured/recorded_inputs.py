"""Example inputs as plain data, and inputs like them made of that again: noise, or zeros.

A tensor is ``{"shape": [...], "dtype": "float32"}``, a constant ``{"value": 3}``. Lists, tuples and mappings
are told by that name, with how their parts are made (``{"list": [...]}``); of others the type is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from featherweight.core.trace import Example, as_arguments
from featherweight.errors import ModelError
from featherweight.structured import plain

_MOST_DIMENSIONS = 64  # of a tensor: no operation of torch takes more
_MOST_NESTED = 16  # lists, tuples and mappings in one another


def specs_of(example: Example) -> tuple[list[Any], dict[str, Any]]:
    """Return how the inputs are made, as JSON values: the positional ones, and the keyword arguments."""
    args, kwargs = as_arguments(example)
    return [_spec(value) for value in args], {name: _spec(value) for name, value in kwargs.items()}


def _spec(value: Any, depth: int = 0) -> Mapping[str, Any]:
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if depth < _MOST_NESTED and type(value) in (list, tuple):
        return {type(value).__name__: [_spec(part, depth + 1) for part in value]}
    if depth < _MOST_NESTED and type(value) is dict and all(type(name) is str for name in value):
        return {"dict": {name: _spec(part, depth + 1) for name, part in value.items()}}
    return {"unknown": type(value).__name__}


def _parts(spec: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Return how the parts of a list, tuple or mapping are made."""
    parts = spec.get("list", spec.get("tuple", spec.get("dict", ())))
    return parts.values() if isinstance(parts, Mapping) else parts


def tensors_in(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield how the tensors in an input are made."""
    if "shape" in spec:
        yield spec
    for part in _parts(spec):
        yield from tensors_in(part)


def unknown_in(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield the types of what cannot be made again."""
    if "unknown" in spec:
        yield spec["unknown"]
    for part in _parts(spec):
        yield from unknown_in(part)


def entries(spec: Mapping[str, Any]) -> int:
    """Return how many entries a tensor has, dimensions of none counted as one: torch multiplies them too."""
    return math.prod(max(size, 1) for size in spec["shape"])


def made(spec: Mapping[str, Any]) -> Any:
    """Return an input; raises ModelError if it cannot be made."""
    if "unknown" in spec:
        raise ModelError(
            f"The network was traced with a {spec['unknown']} as input, which the file does not hold. Only "
            f"tensors, numbers, strings, None, and lists, tuples and mappings of those can be made again."
        )
    if "value" in spec:
        return spec["value"]
    if "dict" in spec:
        return {name: made(part) for name, part in spec["dict"].items()}
    if "shape" not in spec:
        parts = [made(part) for part in _parts(spec)]
        return tuple(parts) if "tuple" in spec else parts
    return _noise(getattr(torch, spec["dtype"]), spec["shape"])


def _noise(dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Return noise of a type of floats, or else zeros."""
    try:
        made = torch.randn(shape).to(dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)
    except (RuntimeError, TypeError) as error:  # NotImplementedError is a RuntimeError
        raise ModelError(
            f"The network was traced with an input of type {str(dtype).removeprefix('torch.')} and shape "
            f"{tuple(shape)}, which torch cannot make: {str(error).strip()[:120]}"
        ) from error
    return made


def specs_from(data: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return what ``specs_of`` gave; raises ValueError if it is anything else."""
    args, kwargs = plain.items(data)
    checked = {name: _checked_spec(spec) for name, spec in plain.mapping(kwargs).items()}
    return [_checked_spec(spec) for spec in plain.items(args)], checked


def _checked_spec(spec: Any, depth: int = 0) -> Mapping[str, Any]:
    """Return how an input is made, as ``_spec`` gave it."""
    names = set(plain.mapping(spec))
    if depth > _MOST_NESTED:
        raise ValueError(f"an input of more than {_MOST_NESTED} lists in one another")
    if names == {"dtype", "shape"}:
        return _checked_tensor(spec)
    if names == {"unknown"}:
        return {"unknown": plain.word(spec["unknown"])}
    if names in ({"list"}, {"tuple"}):
        ((name, parts),) = spec.items()
        return {name: [_checked_spec(part, depth + 1) for part in plain.items(parts)]}
    if names == {"dict"}:
        parts = plain.mapping(spec["dict"])
        return {"dict": {name: _checked_spec(part, depth + 1) for name, part in parts.items()}}
    value = spec["value"]
    if names != {"value"} or not (value is None or isinstance(value, bool | int | float | str)):
        raise ValueError("an input that is neither a tensor nor a number, string or None")
    return spec


def _checked_tensor(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    dtype, shape = getattr(torch, plain.word(spec["dtype"]), None), plain.items(spec["shape"])
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{spec['dtype'][:40]!r} is no type of tensors")
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"a tensor of {len(shape)} dimensions")
    return {"shape": [plain.count(size) for size in shape], "dtype": spec["dtype"]}
