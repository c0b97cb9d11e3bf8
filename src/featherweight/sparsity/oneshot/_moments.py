"""What a layer's inputs amount to: their second moments, summed while the network runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from featherweight.core.prunable import PrunableWeight
from featherweight.core.rows import rows_shape
from featherweight.errors import ModelError
from featherweight.sparsity.layer_inputs import LayerInput
from featherweight.sparsity.oneshot._precision import full_precision


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of the inputs of groups of outputs.

    Attributes:
        hessian: (groups, columns, columns), the mean of ``x x^T``, float32.
        mean: (groups, columns), the mean of ``x``, float32.
        samples: how many there were; of a group that saw fewest.
    """

    hessian: Tensor
    mean: Tensor
    samples: int


@dataclass(eq=False)
class _Sums:
    squares: Tensor
    values: Tensor
    count: int = 0

    def add(self, inputs: Tensor) -> None:
        inputs = inputs.float()
        with full_precision(inputs.device):
            self.squares.baddbmm_(inputs.mT, inputs)
        self.values += inputs.sum(1)
        self.count += inputs.shape[1]


class InputMoments:
    """Sums over everything that reaches one weight."""

    def __init__(self, name: str, outputs: int) -> None:
        """Begin for the weight called ``name``, of so many outputs."""
        self._name, self._outputs = name, outputs
        self._sums: dict[range, _Sums] = {}

    @classmethod
    def of(cls, weight: PrunableWeight) -> InputMoments:
        """Begin for ``weight``."""
        return cls(weight.name, rows_shape(weight.tensor.shape, weight.output_dim, weight.groups)[0])

    def add(self, given: LayerInput) -> None:
        """Add what reached the weight in a call."""
        with torch.inference_mode(mode=False), torch.no_grad():  # the network may infer
            self._add(given)

    def _add(self, given: LayerInput) -> None:
        groups, _, columns = given.inputs.shape
        if given.outputs not in self._sums:
            zeros = torch.zeros(groups, columns, columns, dtype=torch.float32, device=given.inputs.device)
            self._sums[given.outputs] = _Sums(zeros, zeros.new_zeros(groups, columns))
        self._sums[given.outputs].add(given.inputs)

    def result(self) -> Moments:
        """Return the moments, in place of the sums, which are gone.

        Raises:
            ModelError: an input was not finite, or none reached a weight.
        """
        moments = self._of_all() if list(self._sums) == [range(self._outputs)] else self._of_parts()
        self._sums.clear()
        if not bool(moments.hessian.isfinite().all()):
            raise ModelError(
                f"{self._name}: what reaches it is not finite. Are the data, and the weights before it?"
            )
        return moments

    def _of_all(self) -> Moments:
        """Return moments where every call reached all outputs: nothing is held twice."""
        sums = self._sums[range(self._outputs)]
        return Moments(sums.squares.div_(sums.count), sums.values / sums.count, sums.count)

    def _of_parts(self) -> Moments:
        parts = self._parts() if self._sums else []
        if not parts or not min(count for *_, count in parts):
            raise ModelError(f"{self._name}: no input reached some of its outputs in these data.")
        squares, values, counts = (list(each) for each in zip(*parts, strict=True))
        hessian = torch.stack([s / n for s, n in zip(squares, counts, strict=True)])
        mean = torch.stack([v / n for v, n in zip(values, counts, strict=True)])
        return Moments(hessian, mean, min(counts))

    def _parts(self) -> list[tuple[Tensor, Tensor, int]]:
        """Return sums over every equal part of the outputs; one, where they all see the same inputs."""
        sizes = [len(outputs) // len(sums.squares) for outputs, sums in self._sums.items()]
        starts = [outputs.start for outputs in self._sums]
        size = math.gcd(self._outputs, *sizes, *starts)
        return [self._sum_of(start, start + size) for start in range(0, self._outputs, size)]

    def _sum_of(self, start: int, stop: int) -> tuple[Tensor, Tensor, int]:
        found: list[tuple[Tensor, Tensor, int]] = []
        for outputs, sums in self._sums.items():
            if outputs.start <= start and stop <= outputs.stop:
                group = (start - outputs.start) // (len(outputs) // len(sums.squares))
                found.append((sums.squares[group], sums.values[group], sums.count))
        if not found:
            return next(iter(self._sums.values())).squares[0], torch.empty(0), 0
        if len(found) == 1:
            return found[0]
        squares, values, counts = zip(*found, strict=True)
        return torch.stack(squares).sum(0), torch.stack(values).sum(0), sum(counts)
