"""Diagonal Fisher: ``score = w^2 F / 2``, ``F`` the mean of ``g^2`` over the gradients of single examples.

What a weight's removal adds to the loss at a minimum, if the Hessian is diagonal (LeCun, Denker, Solla 1990,
Optimal Brain Damage, https://papers.nips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html),
with the empirical Fisher information in place of the Hessian (Theis, Korshunova, Tejani, Huszár 2018,
https://arxiv.org/abs/1801.05787). The square of the gradient of a batch would be something else, and less.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap  # pyright: ignore[reportPrivateImportUsage]
from torch.utils._pytree import tree_map

from featherweight.core.batches import moved, tensors_in
from featherweight.core.trace import evaluated
from featherweight.errors import SettingError
from featherweight.sparsity.calibration import Calibration, device_of
from featherweight.sparsity.criteria._base import Context, Scores, criteria
from featherweight.sparsity.criteria._gradients import Leaves, OverData

AT_ONCE = 32  # examples whose gradients are held
_FLOATS = 2**25  # in these gradients at most: 128 MiB

Squares = dict[str, Tensor]


@dataclass(frozen=True)
class Fisher(OverData):
    """Score a weight by what its removal adds to the loss at a minimum: ``w^2 F / 2``, ``F`` diagonal.

    Each loss of a callable counts as an example.
    """

    def __call__(self, weights: Mapping[str, Tensor], context: Context) -> Scores:
        """Return the scores; raises SettingError if there are no data."""
        data, leaves = self.data_of(context, "fisher"), Leaves.of(weights, context.model)
        total, examples = leaves.zeros(), 0
        for number, squares in _squares(leaves, data, self.batches):
            examples += number
            for name, square in squares.items():
                total[name] += square
        return {name: weights[name].float().square() * f / examples / 2 for name, f in total.items()}


def _squares(leaves: Leaves, data: Calibration, batches: int | None) -> Iterator[tuple[int, Squares]]:
    """Yield numbers of examples, and the sums of their squared gradients."""
    if not data.has_batches:
        for loss in data.losses(leaves.model, batches):
            yield 1, _squared(leaves, loss)
        return
    source = _Examples(leaves, data)
    seen = 0
    with evaluated(leaves.model):
        for batch in data.batches(batches):
            for part in _parts(moved(_plain(batch), device_of(leaves.model)), source.at_once):
                with torch.inference_mode(False), torch.enable_grad():
                    squares = source.squares(part)
                yield _length(part), squares
            seen += 1
    if not seen:
        raise SettingError("data= gave no batch. An iterator can be read only once: pass a loader or a list.")


def _squared(leaves: Leaves, loss: Tensor) -> Squares:
    return {name: gradient.square() for name, gradient in leaves.gradients(loss).items()}


class _Loss(nn.Module):
    """The loss of a batch as a module, whose parameters can be handed over."""

    def __init__(self, model: nn.Module, data: Calibration) -> None:
        super().__init__()
        self.model, self.data = model, data

    def forward(self, batch: Any) -> Tensor:
        return self.data.pass_of(self.model, batch).loss


class _Examples:
    """Squared gradients of single examples, many at once where the operations of the network allow it."""

    def __init__(self, leaves: Leaves, data: Calibration) -> None:
        self.leaves, self.loss = leaves, _Loss(leaves.model, data)
        numel = sum(tensors[0].numel() for tensors in leaves.tensors.values())
        self.at_once = max(1, min(AT_ONCE, _FLOATS // numel))

    def squares(self, part: Any) -> Squares:
        """Return the sums over the examples of ``part``."""
        if self.at_once > 1:
            try:
                return self._together(part)
            except Exception:  # vmap refuses in many ways; what is wrong with the batch fails again below
                self.at_once = 1
        total = self.leaves.zeros()
        for example in _parts(part, 1):
            for name, square in _squared(self.leaves, self.loss(example)).items():
                total[name] += square
        return total

    def _together(self, part: Any) -> Squares:
        size = _length(part)

        def dim_of(leaf: Any) -> int | None:
            return 0 if _is_of(leaf, size) else None

        def batched(leaf: Any, dim: int | None) -> Any:
            return leaf if dim is None else leaf.unsqueeze(0)

        dims = tree_map(dim_of, part)

        def loss(weights: dict[str, Tensor], example: Any) -> Tensor:
            batch = tree_map(batched, example, dims)
            given = {
                f"model.{each}": weights[name] for name, names in self.leaves.tied.items() for each in names
            }
            return functional_call(self.loss, given, (batch,))

        weights = {name: tensors[0].detach() for name, tensors in self.leaves.tensors.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an operation that is taken an example at a time is as right
            found = vmap(grad(loss), in_dims=(None, dims))(weights, part)
        return {name: gradient.float().square().sum(0) for name, gradient in found.items()}


def _parts(batch: Any, size: int) -> Iterator[Any]:
    """Yield ``batch`` in parts of at most ``size`` examples."""
    length = _length(batch)

    def cut(leaf: Any, start: int) -> Any:
        return leaf[start : start + size] if _is_of(leaf, length) else leaf

    for start in range(0, length, size):
        yield tree_map(partial(cut, start=start), batch)


def _length(batch: Any) -> int:
    first = next((tensor for tensor in tensors_in(batch) if tensor.ndim), None)
    return 1 if first is None else len(first)


def _is_of(leaf: Any, length: int) -> bool:
    """Whether ``leaf`` holds an entry for each example."""
    return isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == length


def _plain(batch: Any) -> Any:
    """Return ``batch`` as a dict where it is another mapping, which torch would not look into."""
    return dict(cast("Mapping[str, Any]", batch)) if isinstance(batch, Mapping) else batch


criteria.register("fisher")(Fisher())
