"""Gradients as the backward pass left them: when they are there, and before an optimizer uses them.

Some optimizers change ``.grad`` in place: SGD with Nesterov momentum and without weight decay, where it takes
many tensors at once (foreach, torch's choice on CUDA), leaves the direction that it went there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from featherweight.core.prunable import Prunable, unwrap

Parameters = Mapping[str, tuple[nn.Parameter, ...]]


def parameters_of(prunable: Prunable, model: nn.Module) -> Parameters:
    """Return, by the name of each weight, the parameters over its memory: several objects where it is shared.

    Each of them gets gradients of its own, and an optimizer remembers things of each.
    """
    named = dict(unwrap(model).named_parameters(remove_duplicate=False))
    plain = {name.replace("_orig_mod.", ""): parameter for name, parameter in named.items()}
    return {
        w.name: tuple({id(p): p for p in (w.tensor, *(plain[alias] for alias in w.aliases))}.values())
        for w in prunable.weights
    }


def gradient_of(parameters: Sequence[nn.Parameter]) -> Tensor | None:
    """Return the gradient of a weight, the sum of those of its ``parameters``; None where there is none."""
    found = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return found[0] if len(found) == 1 else sum(found[1:], found[0]) if found else None


def before_use(optimizer: Optimizer, act: Callable[[], None]) -> Any:
    """Call ``act`` in each step of ``optimizer`` that is taken, between the gradients and the update.

    Where the step computes the gradients, by a closure, that is after its first call.

    Returns:
        The handle of the hook.
    """

    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        if is_skipped(optimizer):
            return None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure):
            act()
            return None
        acting = _followed(closure, act)
        if "closure" in kwargs:
            return args, kwargs | {"closure": acting}
        return (args[0], acting, *args[2:]), kwargs

    return optimizer.register_step_pre_hook(hook)


def _followed(closure: Callable[..., Any], act: Callable[[], None]) -> Callable[..., Any]:
    """Return ``closure`` with ``act`` after its first call."""
    waiting = [act]

    def acting(*args: Any, **kwargs: Any) -> Any:
        loss = closure(*args, **kwargs)
        if waiting:
            waiting.pop()()
        return loss

    return acting


def is_skipped(optimizer: Optimizer) -> bool:
    """Return whether the step does nothing: a GradScaler leaves it to fused optimizers to skip."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


class StepGradients:
    """The sizes of gradients, kept over a step that may change them."""

    def __init__(self, parameters: Parameters) -> None:
        """Take the parameters of each weight."""
        self._parameters = parameters
        self._kept: dict[str, Tensor] = {}

    def keep(self) -> None:
        """Copy the gradients that are there."""
        self._kept = {n: size for n, p in self._parameters.items() if (size := _size(p)) is not None}

    def drop(self) -> None:
        """Let go of the copies."""
        self._kept = {}

    def take(self, name: str) -> Tensor | None:
        """Return ``|gradient|`` of a weight, float32, to be changed at will; that of now if none was kept."""
        kept = self._kept.pop(name, None)
        return _size(self._parameters[name]) if kept is None else kept


def _size(parameters: Sequence[nn.Parameter]) -> Tensor | None:
    gradient = gradient_of(parameters)
    return None if gradient is None else gradient.detach().abs().float()
