"""An optimizer whose parameters were cut: its state is cut with them, so that training goes on."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from featherweight.errors import SettingError
from featherweight.sparsity.pruner import Pruner
from featherweight.structured.cut import Cut
from featherweight.structured.rewrite import left_of


def check_follows(optimizer: Optimizer, model: nn.Module) -> None:
    """Look, before anything is changed, whether ``optimizer`` can go on with a cut ``model``.

    Raises:
        SettingError: it is no optimizer, not of this model, keeps its state in one flat vector, or has a
            pruner attached whose masks would not fit any more.
    """
    if not isinstance(optimizer, Optimizer):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingError(f"optimizer= is a torch.optim.Optimizer, got {optimizer!r}.")
    if isinstance(optimizer, LBFGS):
        raise SettingError(
            "optimizer=: LBFGS keeps one flat vector of all parameters, which cannot be cut. Make a new one "
            "for the network that is returned."
        )
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
        raise SettingError("optimizer= holds no parameter of this model: give the one that trains it.")
    hooks = vars(optimizer).get("_optimizer_step_post_hooks", {}).values()
    if any(isinstance(getattr(hook, "__self__", None), Pruner) for hook in hooks):
        raise SettingError(
            "A Pruner is attached to optimizer=, and its masks have the sizes of the whole network. Detach "
            "it, cut, and attach a new Pruner to what is returned."
        )


def follow(optimizer: Optimizer, before: Mapping[str, nn.Parameter], after: nn.Module, cut: Cut) -> None:
    """Let ``optimizer`` hold the parameters of ``after`` in the place of ``before``, with their state cut.

    Args:
        optimizer: any that ``check_follows`` takes. Momentum and the like have the shapes of their
            parameters and are cut; a state of other shapes (Adafactor's) is made anew at the next step.
        before: the parameters of the whole network by name; the same objects if it was cut in place.
        after: the cut network.
        cut: what was cut.
    """
    now = dict(after.named_parameters(remove_duplicate=False))
    new = {id(parameter): now[name] for name, parameter in before.items() if name in now}
    names = {id(parameter): name for name, parameter in before.items()}
    for group in optimizer.param_groups:
        for place, parameter in enumerate(group["params"]):
            if id(parameter) not in new:
                continue
            state = optimizer.state.pop(parameter, None)
            group["params"][place] = new[id(parameter)]
            if state is not None and _can_be_cut(state, name := names[id(parameter)], cut):
                optimizer.state[new[id(parameter)]] = {k: _cut(v, name, cut) for k, v in state.items()}


def forget(optimizer: Optimizer, after: nn.Module, before: Mapping[str, nn.Parameter]) -> None:
    """Take those parameters of ``before`` that ``after`` has not out of ``optimizer``, with their state."""
    stay = {id(parameter) for parameter in after.parameters()}
    gone = {id(parameter) for parameter in before.values()} - stay
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) in gone:
                optimizer.state.pop(parameter, None)
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]


def _can_be_cut(state: Mapping[str, object], name: str, cut: Cut) -> bool:
    """Whether all tensors of a state are single numbers or of the shape of a parameter that is cut."""
    shape = _shape(name, cut)
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    return name not in cut.stored or all(t.numel() == 1 or tuple(t.shape) == shape for t in tensors)


def _cut(value: object, name: str, cut: Cut) -> object:
    """Return the part of a state that stays; what has not the shape of the parameter stays as it is."""
    if isinstance(value, Tensor) and tuple(value.shape) == _shape(name, cut) and name in cut.stored:
        return left_of(value, cut.stored[name])
    return value


def _shape(name: str, cut: Cut) -> tuple[int, ...] | None:
    """Return the sizes of a parameter before the cut."""
    tracing = cut.tracing
    return tracing.graph.shapes[tracing.stored[name]] if name in tracing.stored else None
