"""All batches as one, on which the network need run but once to show what reaches one layer after the other.

They can be joined where they differ in nothing but their first dimension, and where it makes no difference: a
network must give for some examples together what it gives for them apart. So it is found out where examples
are counted by another dimension, and where there is noise, or normalisation over a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from featherweight.core.batches import device_of, inputs_of, mapped, moved, outputs_of, tensors_in
from featherweight.core.eager import eager
from featherweight.core.trace import evaluating, unfused

_FEW = 2  # examples of the first and of the last batch that are tried
_AT_A_TIME = 5  # tensors as large as the largest that a network holds, about: inputs, outputs, a shortcut


class NotJoinedError(Exception):
    """Batches cannot be joined; says why."""


def joined(model: nn.Module, batches: Sequence[Any], limit: float) -> Any:
    """Return all batches as one.

    Args:
        model: the network, which is tried on a few examples.
        batches: of data=, or inputs alone; at least one. A single one is what it is.
        limit: bytes that the network may take on all of them, as estimated from the examples.

    Raises:
        NotJoinedError: they cannot be joined.
    """
    if len(batches) == 1:
        return batches[0]
    given = [batch if isinstance(batch, Mapping) else (inputs_of(batch), None) for batch in batches]
    total = sum(_size(batch) for batch in given)
    needed = total * _bytes_an_example(model, given[0], given[-1])
    if needed > limit:
        raise NotJoinedError(
            f"together they would take about {needed / 2**20:,.0f} MiB, over memory_limit="
            f"{limit / 2**20:,.0f} MiB"
        )
    return _cat(given)


def _bytes_an_example(model: nn.Module, first: Any, last: Any) -> float:
    """Return about how much the network takes on an example, after trying whether it sees each alone."""
    some = [moved(mapped(_few, batch), device_of(model)) for batch in (first, last)]
    largest = _Largest()
    try:
        with evaluating(model), unfused(), eager():
            apart = [_outputs(model, batch) for batch in some]
            with largest:
                together = _outputs(model, _cat(some))
    except NotJoinedError:
        raise
    except Exception as error:  # a network may be made for so many examples, and fail in any way on others
        raise NotJoinedError(f"the network fails on {_FEW} examples of a batch: {error}") from error
    first, last = apart
    if not _same(first, last, together):
        raise NotJoinedError("for examples together the network gives something else than for each batch")
    return _AT_A_TIME * largest.bytes / sum(_size(batch) for batch in some)


def _outputs(model: nn.Module, batch: Any) -> list[Tensor]:
    return list(tensors_in(outputs_of(model, batch, labels=True)))


def _same(first: Sequence[Tensor], last: Sequence[Tensor], together: Sequence[Tensor]) -> bool:
    """Whether outputs that have an entry an example are those of both batches, and there are such ones."""
    if not len(first) == len(last) == len(together):
        return False
    found = [
        _close(torch.cat([a, b]), both)
        for a, b, both in zip(first, last, together, strict=True)
        if min(a.ndim, b.ndim, both.ndim) > 0
        and a.shape[1:] == b.shape[1:]
        and both.shape == (len(a) + len(b), *a.shape[1:])
    ]
    return bool(found) and all(found)


def _close(wanted: Tensor, found: Tensor) -> bool:
    if not wanted.is_floating_point():
        return torch.equal(wanted, found)
    tolerance = max(1e-3, 8 * torch.finfo(wanted.dtype).eps)
    scale = float(wanted.abs().nan_to_num(0, 0, 0).max()) if wanted.numel() else 0.0
    return torch.allclose(wanted.float(), found.float(), tolerance, tolerance * scale, equal_nan=True)


def _size(batch: Any) -> int:
    """Return how many examples a batch has."""
    sizes = {len(tensor) if tensor.ndim else 0 for tensor in tensors_in(batch)}
    if len(sizes) != 1 or 0 in sizes:
        raise NotJoinedError("there are tensors in a batch that do not have an entry for each example")
    return sizes.pop()


def _few(leaf: Any) -> Any:
    if isinstance(leaf, PackedSequence):
        raise NotJoinedError("packed sequences cannot be joined")
    return leaf[:_FEW] if isinstance(leaf, Tensor) else leaf


def _cat(parts: Sequence[Any]) -> Any:
    """Return things of the same form as one whose tensors are longer."""
    first = parts[0]
    if any(type(part) is not type(first) for part in parts):
        raise NotJoinedError("batches are of several types")
    if isinstance(first, Tensor):
        kinds = {(part.dtype, part.shape[1:]) for part in parts}
        if len(kinds) > 1:
            raise NotJoinedError("batches differ in shape or type, as sequences of several lengths do")
        return torch.cat(list(parts))
    if isinstance(first, Mapping):
        names = cast("Mapping[str, Any]", first).keys()
        if any(part.keys() != names for part in parts):
            raise NotJoinedError("batches have several sets of entries")
        return {name: _cat([part[name] for part in parts]) for name in names}
    if isinstance(first, tuple | list):
        things = cast("list[Any]", first)
        if any(len(part) != len(things) for part in parts):
            raise NotJoinedError("batches are of several lengths")
        values = [_cat(each) for each in zip(*parts, strict=True)]
        made: Any = getattr(cast("Any", type(things)), "_make", type(things))  # of a named tuple
        return made(values)
    if any(part is not first and part != first for part in parts):
        raise NotJoinedError(f"batches hold a {type(first).__name__} each that differs")
    return first


class _Largest(TorchFunctionMode):
    """Notes the size of the largest tensor that a function makes.

    Attributes:
        bytes: of it.
    """

    bytes = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run ``func``."""
        result = func(*args, **(kwargs or {}))
        given = {_storage(tensor) for tensor in tensors_in(args)}
        for tensor in tensors_in(result):
            if _storage(tensor) not in given:  # views take nothing
                self.bytes = max(self.bytes, tensor.nbytes)
        return result


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
