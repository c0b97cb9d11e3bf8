"""What becomes of a few examples apart and together: whether that is the same, and what memory it takes.

A network that sees each example alone gives its layers the same for all of them together as for some of them
and then the others. One that normalises over a batch, adds noise, or counts examples by another dimension
does not.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from featherweight.core.batches import outputs_of, tensors_in
from featherweight.core.eager import eager
from featherweight.core.prunable import PrunableWeight
from featherweight.core.trace import evaluating, unfused
from featherweight.sparsity.layer_inputs import LayerInput, valid_positions, watched_inputs
from featherweight.sparsity.oneshot._kept import unchanged

_CLOSE = 1e-3  # relative; in half precision more
_FLOOR = 0.03  # of the scale of all columns is added to that of each: some are next to zero


@dataclass(frozen=True)
class Trial:
    """Some examples, others, and all of them together.

    Attributes:
        difference: what is not the same together as apart; "" if nothing is.
        bytes_of_first: most that the network held at a time, beyond itself and its inputs, on the first ones.
        bytes_of_all: on all of them.
    """

    difference: str
    bytes_of_first: int
    bytes_of_all: int

    @classmethod
    def of(
        cls, model: nn.Module, weights: Sequence[PrunableWeight], apart: tuple[Any, Any], together: Any
    ) -> Trial:
        """Run the network on three batches, evaluating; it is as it was afterwards."""
        held: list[int] = []
        with unchanged(model), evaluating(model), unfused(), eager():
            first, others = (_Seen.of(model, weights, batch) for batch in apart)
            difference = _Seen.of(model, weights, together).differs_from(first, others)
            for batch in () if difference else (apart[0], together):
                with _Alive() as alive:
                    outputs_of(model, batch, labels=True)
                held.append(alive.most)
        return cls(difference, *held) if held else cls(difference, 0, 0)

    def bytes(self, first: int, others: int, number: int) -> float:
        """Return about how much the network would hold on ``number`` examples.

        Args:
            first: number of the first examples that were tried.
            others: of the others.
            number: of those asked for.
        """
        each = max(0.0, (self.bytes_of_all - self.bytes_of_first) / others)
        return max(0.0, self.bytes_of_first - each * first) + each * number


Part = tuple[str, range]  # a weight, and some of its outputs


@dataclass(frozen=True)
class _Reached:
    """What reached some outputs of a weight.

    Attributes:
        samples: how many.
        sums: (groups, columns) float64, of the inputs.
        squares: of their squares.
        close: the relative difference that rounding may make.
    """

    samples: int
    sums: Tensor
    squares: Tensor
    close: float

    @classmethod
    def of(cls, inputs: Tensor) -> _Reached:
        """Return that of (groups, samples, columns)."""
        wide = inputs.double()
        return cls(inputs.shape[1], wide.sum(1), wide.square().sum(1), _close(inputs.dtype))

    def plus(self, other: _Reached) -> _Reached:
        """Return that of both."""
        sums, squares = self.sums + other.sums, self.squares + other.squares
        return _Reached(self.samples + other.samples, sums, squares, max(self.close, other.close))

    def is_like(self, other: _Reached) -> bool:
        """Whether mean and variance of each column are the same but for rounding."""
        if self.samples != other.samples:
            return False
        size = (self.squares / self.samples).sqrt()
        size = size + _FLOOR * size.max()
        means = (self.sums - other.sums).abs() / self.samples
        squares = (self.squares - other.squares).abs() / self.samples
        return bool((means <= self.close * size).all() and (squares <= 2 * self.close * size.square()).all())


@dataclass(frozen=True)
class _Seen:
    """What a network made of a batch.

    Attributes:
        reached: what reached its weights.
        outputs: the tensors that it gave.
    """

    reached: Mapping[Part, _Reached]
    outputs: Sequence[Tensor]

    @classmethod
    def of(cls, model: nn.Module, weights: Sequence[PrunableWeight], batch: Any) -> _Seen:
        """Run the network."""
        reached: dict[Part, _Reached] = {}

        def receive(given: LayerInput) -> None:
            part, found = (given.name, given.outputs), _Reached.of(given.inputs)
            reached[part] = reached[part].plus(found) if part in reached else found

        with watched_inputs(weights, receive) as watch:
            watch.valid = valid_positions(batch, model)
            outputs = list(tensors_in(outputs_of(model, batch, labels=True)))
        return cls(reached, outputs)

    def differs_from(self, first: _Seen, others: _Seen) -> str:
        """Return what is not as in both, of whose examples this is together; "" if all is."""
        apart = dict(first.reached)
        for part, found in others.reached.items():
            apart[part] = apart[part].plus(found) if part in apart else found
        for part in {**apart, **self.reached}:
            if part not in apart or part not in self.reached or not apart[part].is_like(self.reached[part]):
                return f"{part[0]} gets something else for examples together than for each batch"
        if len({len(first.outputs), len(others.outputs), len(self.outputs)}) > 1:
            return "for examples together there is another number of outputs"
        for a, b, both in zip(first.outputs, others.outputs, self.outputs, strict=True):
            has_entries = a.ndim and b.ndim and both.shape == (len(a) + len(b), *a.shape[1:])
            if has_entries and a.shape[1:] == b.shape[1:] and not _alike(torch.cat([a, b]), both):
                return "for examples together the outputs are others than for each batch"
        return ""


def _alike(wanted: Tensor, found: Tensor) -> bool:
    """Whether tensors (examples, ...) are the same but for rounding.

    How much that may make is measured at each place by itself: a mask of -1e9 hides nothing elsewhere.
    """
    if not (wanted.is_floating_point() and found.is_floating_point()):
        return torch.equal(wanted, found)
    close = _close(wanted.dtype)
    wanted, found = wanted.double(), found.double()
    size = wanted.nan_to_num(0, 0, 0).abs().amax(0)
    allowed = close * (size + _FLOOR * size.median()) if size.numel() else size
    same = (wanted == found) | (wanted.isnan() & found.isnan())
    return bool((same | ((wanted - found).abs() <= allowed)).all())


def _close(kind: torch.dtype) -> float:
    return max(_CLOSE, 8 * torch.finfo(kind).eps) if kind.is_floating_point else _CLOSE


class _Alive(TorchDispatchMode):
    """Counts the memory of tensors that operations make, while they are alive.

    Attributes:
        most: bytes that there were at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._now = 0
        self._known = set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run ``func``."""
        result = func(*args, **(kwargs or {}))
        given = {_storage(tensor)._cdata for tensor in tensors_in((args, kwargs or {}))}
        for tensor in tensors_in(result):
            storage = _storage(tensor)
            key, size = storage._cdata, storage.nbytes()
            if key not in given and key not in self._known:
                self._known.add(key)
                self._now += size
                self.most = max(self.most, self._now)
                weakref.finalize(storage, self._gone, key, size)
        return result

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def _storage(tensor: Tensor) -> Any:
    return tensor.untyped_storage()
