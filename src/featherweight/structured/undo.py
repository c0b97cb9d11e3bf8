"""A model as it was, where something fails after it was changed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from featherweight.structured.rewrite import put


@contextmanager
def unchanged_on_failure(model: nn.Module) -> Generator[None]:
    """Give tensors, gradients, attributes and configurations back as they were if the block fails."""
    tensors = [*model.parameters(), *model.buffers()]
    data = [(tensor.data, tensor.grad) for tensor in tensors]
    modules = list(model.modules())
    attributes = [(dict(vars(module)), dict(module.named_children())) for module in modules]
    configurations = [(held, dict(vars(held))) for held in configurations_of(model)]
    try:
        yield
    except BaseException:
        for module, (values, children) in zip(modules, attributes, strict=True):
            vars(module).clear()
            vars(module).update(values)
            for name, child in children.items():
                setattr(module, name, child)
        for held, values in configurations:
            vars(held).clear()
            vars(held).update(values)
        for tensor, (values, gradient) in zip(tensors, data, strict=True):
            put(tensor, values, gradient)
        raise


def configurations_of(model: nn.Module) -> Iterator[Any]:
    """Yield the objects that modules hold as ``config``, and those within them, each once."""
    seen: set[int] = set()
    waiting = [vars(module).get("config") for module in model.modules()]
    while waiting:
        held = waiting.pop()
        if id(held) in seen or not is_configuration(held):
            continue
        seen.add(id(held))
        yield held
        waiting += vars(held).values()


def is_configuration(value: Any) -> bool:
    """Whether a value is an object with settings as its attributes, such as a Hugging Face or data class."""
    return hasattr(value, "__dict__") and not isinstance(value, nn.Module | type) and not callable(value)
