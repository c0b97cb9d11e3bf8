"""Arrays of any library as numpy arrays, without a copy where their layout allows; no library is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from featherweight.errors import InputError
from featherweight.runtime.graph import Input

Array = npt.NDArray[Any]


def as_numpy(value: Any, where: str) -> Array:
    """Return ``value`` as a numpy array in C order: numpy, what speaks DLPack (torch, ...), or nested lists.

    Bytes are in the order of this machine.

    Raises:
        InputError: it lives on another device, or is no array.
    """
    try:
        if isinstance(value, np.ndarray):
            array = value
        elif hasattr(value, "__dlpack__"):
            array = np.from_dlpack(value.detach() if hasattr(value, "detach") else value)
        else:
            array = np.asarray(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: {type(value).__name__} cannot be read as an array on the CPU ({error}). "
            "Give a numpy array, or a tensor that was moved to the CPU."
        ) from error
    if array.dtype == object:
        raise InputError(f"{where}: expected an array of numbers, got {type(value).__name__}.")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(array) if array.ndim else array


def writable(out: Any, names: Sequence[str]) -> list[Array]:
    """Return what was given for outputs, an array or a mapping of arrays by name, in the order of the names.

    Raises:
        InputError: one is missing, or is no numpy array in C order that may be written to, or its bytes are
            in another order than this machine's.
    """
    table: Mapping[str, Any] = out if isinstance(out, Mapping) else {names[0]: out}
    if set(table) != set(names):
        raise InputError(f"out: the network gives {list(names)}; got arrays for {list(table)}.")
    for name in names:
        array = table[name]
        if not (isinstance(array, np.ndarray) and array.flags.c_contiguous and array.flags.writeable):
            raise InputError(f"out: {name!r} should be a numpy array in C order that may be written to.")
        if not array.dtype.isnative:
            raise InputError(
                f"out: {name!r} should have its bytes in this machine's order, got {array.dtype}."
            )
    return [table[name] for name in names]


def by_name(given: tuple[Any, ...], inputs: Sequence[Input]) -> list[Any]:
    """Return what was given to ``run``, arrays or one mapping of them by name, in the order of the inputs."""
    names = [value.name for value in inputs]
    if len(given) == 1 and isinstance(given[0], Mapping):
        table: Mapping[str, Any] = given[0]
        missing, unknown = [n for n in names if n not in table], [n for n in table if n not in names]
        if missing or unknown:
            raise InputError(f"the network takes the inputs {names}; missing {missing}, unknown {unknown}.")
        return [table[name] for name in names]
    if len(given) != len(names):
        raise InputError(f"the network takes {len(names)} inputs, {names}; got {len(given)}.")
    return list(given)


def checked(value: Any, expected: Input) -> Array:
    """Return ``value`` as the array that an input takes; raises InputError where dtype or shape differ."""
    where = f"input {expected.name!r}"
    array = as_numpy(value, where)
    if array.dtype.name != expected.dtype:
        raise InputError(
            f"{where}: expected {expected.dtype}, got {array.dtype.name}. "
            f"Convert it: numpy's x.astype({expected.dtype!r}), torch's x.float()."
        )
    wanted = expected.shape
    fits = array.ndim == len(wanted) and all(
        size is None or size == got for size, got in zip(wanted, array.shape, strict=True)
    )
    if not fits or 0 in array.shape:
        words = ", ".join("any" if size is None else str(size) for size in wanted)
        raise InputError(f"{where}: expected shape ({words}), got {array.shape}.")
    return array
