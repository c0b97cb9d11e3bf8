"""SynFlow: ``score = |w dR/dw| / R``, with ``R`` the sum of the outputs for an input of ones and weights |w|.

No data are looked at, but an input has to have its shape from somewhere. In many rounds no layer collapses:
what flows into a unit flows out of it, so that a small layer has large scores (Tanaka, Kunin, Yamins, Ganguli
2020, https://arxiv.org/abs/2006.05467). Batch norm evaluates. Dividing by ``R`` changes no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import functional_call  # pyright: ignore[reportPrivateImportUsage]

from featherweight.core.batches import LABELS, device_of, entry, inputs_of, moved, tensors_in
from featherweight.core.eager import eager
from featherweight.core.trace import as_arguments, evaluated
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.criteria._base import Context, Scores, check_rounds, criteria
from featherweight.sparsity.criteria._gradients import Leaves

_SAFE = 1e-20, 1e20  # of R in float32: gradients and products of it are far from the ends, 1e-38 and 1e38


@dataclass(frozen=True)
class SynFlow:
    """Score a weight by the flow through it: ``|w * dR/dw|``, all weights positive and the input all ones.

    ``data=`` is a loader, whose first batch has the shapes, or an example input: a tensor, or a mapping of
    keyword arguments.

    Attributes:
        rounds: prune in so many steps, scoring again after each; in one, whole layers vanish.
    """

    rounds: int = 100

    def __post_init__(self) -> None:
        check_rounds(self.rounds)

    def check_data(self, data: Any) -> None:
        """Raise SettingError if ``data`` are nothing to take the shape of an input from."""
        if not isinstance(data, Tensor | Mapping):
            _batches(data)

    def __call__(self, weights: Mapping[str, Tensor], context: Context) -> Scores:
        """Return the scores.

        Raises:
            SettingError: there is nothing to take the shape of the input from.
            ModelError: the outputs are not finite, also in double precision.
        """
        inputs = moved(_ones(_example(context.data)), device_of(context.model))
        leaves = Leaves.of(weights, context.model)
        flow, scores = _scores(leaves, inputs, torch.float32)
        if not all(bool(score.isfinite().all()) for score in scores.values()):
            raise ModelError(
                f"The outputs of SynFlow sum to {flow:g}, and its scores are not finite. Are the weights?"
            )
        return {name: score.float() for name, score in scores.items()}


def _scores(leaves: Leaves, inputs: Any, dtype: torch.dtype) -> tuple[float, dict[str, Tensor]]:
    """Return R, and the scores divided by it; in double precision where R asks for it."""
    with evaluated(leaves.model), torch.inference_mode(False), torch.enable_grad(), eager():
        positive = {name: p.detach().abs().to(dtype) for name, p in _floats(leaves.model.named_parameters())}
        flat = {name: positive[names[0]].requires_grad_() for name, names in leaves.tied.items()}
        positive |= {each: flat[name] for name, names in leaves.tied.items() for each in names}
        buffers = {name: b.to(dtype) for name, b in _floats(leaves.model.named_buffers())}
        args, kwargs = as_arguments(_as(inputs, dtype))
        flow = _sum(functional_call(leaves.model, positive | buffers, args, kwargs), dtype)
        total = float(flow.detach())
        if dtype is torch.float32 and not _SAFE[0] < total < _SAFE[1]:
            return _scores(leaves, inputs, torch.float64)
        found = _gradients(flow, flat)
    return total, {name: (flat[name].detach() * g / total if total else g).abs() for name, g in found.items()}


def _gradients(flow: Tensor, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: Any = torch.autograd.grad(flow, list(flat.values()), allow_unused=True)
    return {
        name: torch.zeros_like(w, requires_grad=False) if g is None else g
        for (name, w), g in zip(flat.items(), found, strict=True)
    }


def _sum(outputs: Any, dtype: torch.dtype) -> Tensor:
    """Return the sum of the logits, or of all outputs where none are called so."""
    logits = None if isinstance(outputs, Tensor) else entry(outputs, "logits")
    tensors = [t for t in tensors_in(outputs if logits is None else logits) if t.is_floating_point()]
    if not any(t.requires_grad for t in tensors):
        raise ModelError(
            "No output depends on a weight, so that nothing flows from the input to the outputs."
        )
    return sum((t.to(dtype).sum() for t in tensors), torch.zeros((), dtype=dtype, device=tensors[0].device))


def _floats(named: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
    return ((name, tensor) for name, tensor in named if tensor.is_floating_point())


def _example(data: Any) -> Any:
    if isinstance(data, Tensor | Mapping):
        return inputs_of(data)
    for batch in _batches(data).batches(1):
        return inputs_of(batch)
    raise SettingError("data= gave no batch to take the shape of an input from.")


def _batches(data: Any) -> Calibration:
    calibration = Calibration.of(data, wanted_by="criterion='synflow', for the shape of an input,")
    if not calibration.has_batches:
        raise SettingError(
            "criterion='synflow' looks at the shape of an input, which a function of losses has not: pass a "
            "loader, or an example input (a tensor, or a mapping of keyword arguments), as data=."
        )
    return calibration


def _ones(inputs: Any) -> Any:
    """Return ones in the shape of one example, of its type; bools, which say what is masked, as they are."""
    if isinstance(inputs, Mapping):
        given = cast("Mapping[str, Any]", inputs)
        return {name: _ones(value) for name, value in given.items() if name != LABELS}
    if isinstance(inputs, tuple | list):
        return tuple(_ones(value) for value in cast("list[Any]", inputs))
    if not isinstance(inputs, Tensor):
        return inputs
    one = inputs[:1] if inputs.ndim else inputs
    return one if one.dtype == torch.bool else torch.ones_like(one)


def _as(inputs: Any, dtype: torch.dtype) -> Any:
    """Return the inputs with their floats in ``dtype``."""
    if isinstance(inputs, Mapping):
        return {name: _as(value, dtype) for name, value in cast("Mapping[str, Any]", inputs).items()}
    if isinstance(inputs, tuple):
        return tuple(_as(value, dtype) for value in cast("tuple[Any, ...]", inputs))
    return inputs.to(dtype) if isinstance(inputs, Tensor) and inputs.is_floating_point() else inputs


criteria.register("synflow")(SynFlow())
