"""One layer: its problem made of what reached it, and the solution written into the network."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from featherweight.core.mask import Mask
from featherweight.core.prunable import PrunableWeight
from featherweight.core.rows import from_rows, to_rows
from featherweight.core.skip import matches_any
from featherweight.errors import ModelError
from featherweight.sparsity.oneshot._moments import Moments
from featherweight.sparsity.oneshot._problem import LayerProblem, Method, Solution
from featherweight.sparsity.oneshot.report import LayerReport
from featherweight.sparsity.patterns import RowPattern

_EXACT = 1024  # layers of up to so many columns are solved in float64


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight to be pruned.

    Attributes:
        weight: the weight.
        keep: bool, of its shape: where it was not zero before.
        bias: the bias of its outputs, to be corrected; None where there is none.
    """

    weight: PrunableWeight
    keep: Tensor
    bias: nn.Parameter | None

    def problem(self, moments: Moments, kept: int, pattern: RowPattern, damping: float) -> LayerProblem:
        """Return the problem of this layer."""
        kind = torch.float64 if _is_exact(moments.hessian) else torch.float32
        weights = self._rows(self.weight.tensor.detach()).to(kind)
        hessian = moments.hessian.to(kind)
        fixed = torch.zeros_like(weights).masked_fill(~self._rows(self.keep), -torch.inf)
        if self.weight.is_output:
            norms = hessian.diagonal(dim1=-2, dim2=-1).repeat_interleave(len(weights) // len(hessian), 0)
            fixed = _with_best(
                fixed, weights.square() * norms.reshape(len(weights), *weights.shape[1:]), pattern, kept
            )
        return LayerProblem(weights, hessian, kept, pattern, fixed, damping)

    def prune(self, problem: LayerProblem, method: Method, moments: Moments) -> Pruned:
        """Return what ``method`` makes of the problem."""
        begin = time.perf_counter()
        solution = method(problem)
        if fault := _fault_of(solution, problem):
            raise ModelError(f"{self.weight.name}: the method gave {fault}.")
        kept, error = int(torch.count_nonzero(solution.keep)), problem.error(solution.weights)
        seconds = time.perf_counter() - begin
        report = LayerReport(
            self.weight.name, problem.weights.numel(), kept, error, moments.samples, seconds, solution.note
        )
        change = (problem.weights - solution.weights).reshape(problem.grouped.shape)
        shift = (change @ moments.mean[..., None].to(change.dtype)).flatten()
        weights = self._in_shape(solution.weights).to(self.weight.tensor.dtype)
        return Pruned(weights, Mask(self._in_shape(solution.keep)), shift, report)

    def write(self, pruned: Pruned) -> None:
        """Put the weights, and the bias, into the network."""
        with torch.no_grad():
            self.weight.tensor.copy_(pruned.weights)
            if self.bias is not None:
                self.bias.add_(pruned.shift.to(self.bias))
        torch.clear_autocast_cache()  # where the caller's autocast is on: it has rounded the old weights

    def _rows(self, tensor: Tensor) -> Tensor:
        return to_rows(tensor, self.weight.output_dim, self.weight.groups)

    def _in_shape(self, rows: Tensor) -> Tensor:
        shape = self.weight.tensor.shape
        return from_rows(rows, shape, self.weight.output_dim, self.weight.groups).contiguous()


@dataclass(frozen=True, eq=False)
class Pruned:
    """A layer as a method left it.

    Attributes:
        weights: in the weight's shape.
        mask: of them.
        shift: (outputs,), how much the outputs fell on average: what the bias makes up for.
        report: what was done.
        norms: statistics of the batch norms that were matched with it; see ``Norms.settled``.
    """

    weights: Tensor
    mask: Mask
    shift: Tensor
    report: LayerReport
    norms: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


def bias_of(model: nn.Module, weight: PrunableWeight, skip: Sequence[str] = ()) -> nn.Parameter | None:
    """Return the bias beside a weight, one number an output.

    None where several modules share the weight or the bias, and where the bias is frozen or skipped.
    """
    names = (weight.name, *weight.aliases)
    owners = {model.get_submodule(name.rpartition(".")[0]) for name in names}
    if len(owners) > 1:
        return None
    biases = tuple(_beside(name) for name in names)
    if any(matches_any(pattern, [biases]) for pattern in skip):
        return None
    found = getattr(owners.pop(), biases[0].rpartition(".")[2], None)
    outputs = weight.tensor.shape[weight.output_dim] * weight.groups
    if not isinstance(found, nn.Parameter) or found.shape != (outputs,) or not found.requires_grad:
        return None
    uses = sum(other is found for _, other in model.named_parameters(remove_duplicate=False))
    return found if uses == 1 else None


def _beside(name: str) -> str:
    """Return what the bias beside the weight of this name is called."""
    module, dot, last = name.rpartition(".")
    return f"{module}{dot}{last.replace('weight', 'bias')}"


def _fault_of(solution: Solution, problem: LayerProblem) -> str:
    """Return what is wrong with a solution; "" if nothing is."""
    shape, kept = problem.weights.shape, int(torch.count_nonzero(solution.keep))
    if not solution.weights.shape == solution.keep.shape == shape:
        return f"weights and mask of shape {tuple(solution.weights.shape)}, expected {tuple(shape)}"
    if kept > problem.kept:
        return f"a mask that keeps {kept:,} weights, at most {problem.kept:,} were to be kept"
    if bool(solution.weights[~solution.keep].any()):
        return "weights that are not zero where its mask says so"
    return "" if bool(solution.weights.isfinite().all()) else "weights that are not finite: raise damping="


def _is_exact(hessian: Tensor) -> bool:
    return hessian.shape[-1] <= _EXACT and hessian.device.type != "mps"


def _with_best(fixed: Tensor, scores: Tensor, pattern: RowPattern, kept: int) -> Tensor:
    """Return ``fixed`` with +inf at each output's best weight: outputs of the network must not vanish."""
    scores = torch.where(fixed == 0, scores, fixed)
    allowed = pattern.restrict({"": scores}, kept)[""]
    flat = allowed.flatten(1)
    best = flat.argmax(1, keepdim=True)
    lifted = fixed.flatten(1).scatter(1, best, torch.inf)
    alive = (flat > -torch.inf).any(1, keepdim=True)
    return torch.where(alive, lifted, fixed.flatten(1)).view(fixed.shape)
