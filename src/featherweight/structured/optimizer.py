"""An optimizer whose parameters were cut: its state is cut with them, so that training goes on."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim import Optimizer

from featherweight.structured.cut import Cut
from featherweight.structured.rewrite import left_of


def follow(optimizer: Optimizer, before: Mapping[str, nn.Parameter], after: nn.Module, cut: Cut) -> None:
    """Let ``optimizer`` hold the parameters of ``after`` in the place of ``before``, with their state cut.

    Args:
        optimizer: any; momentum and the like have the shapes of their parameters.
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
            if state is not None:
                name = names[id(parameter)]
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


def _cut(value: object, name: str, cut: Cut) -> object:
    """Return the part of a state that stays; what has not the shape of the parameter stays as it is."""
    tracing = cut.tracing
    shape = tracing.graph.shapes[tracing.stored[name]] if name in tracing.stored else None
    if isinstance(value, Tensor) and tuple(value.shape) == shape and name in cut.stored:
        return left_of(value, cut.stored[name])
    return value
