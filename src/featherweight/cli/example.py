"""Inputs to trace and time a network on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from featherweight.cli.batches import Batches
from featherweight.cli.inputs import Input, made_inputs, parse_inputs
from featherweight.cli.output import remark
from featherweight.cli.resolve import is_factory, name_and_options
from featherweight.core.trace import Example, as_arguments, evaluating
from featherweight.errors import SettingError
from featherweight.profile.macs import following
from featherweight.zoo import card_of


def example_of(
    spec: str, model: nn.Module, given: Sequence[str], batches: Batches | None, purpose: str
) -> Example:
    """Return inputs of the shapes that are given, or else of the zoo's, or else the first of the data.

    Args:
        spec: as ``model`` was named.
        model: the network.
        given: such as ("1,3,224,224",) or ("ids=1,128:int64", "mask=1,128:bool"); (): not given.
        batches: data; None: not given.
        purpose: for the error, such as "To trace the network".

    Raises:
        SettingError: there is none of the three, or the network fails on what is given.
    """
    if given:
        return _as_given(model, given)
    if not is_factory(spec):
        return made_inputs([Input(_zoo_shape(spec, model))])
    if batches is not None:
        return first_of(next(iter(batches.train)))
    raise SettingError(
        f"{purpose}, give the sizes of an input, such as --input-shape 1,3,224,224, or of token ids, such "
        f"as --input-shape 1,128:int64."
    )


def shapes_of(example: Example) -> tuple[tuple[int, ...], ...]:
    """Return the sizes of each tensor, one after the other."""
    return tuple(tuple(value.shape) for value in tree_leaves(example) if isinstance(value, Tensor))


def _as_given(model: nn.Module, given: Sequence[str]) -> Example:
    inputs = parse_inputs(given)
    example = made_inputs(inputs)
    _check_runs(model, example, inputs, " ".join(given))
    if not all(entry.is_float for entry in inputs):
        remark("--input-shape: what is not float is filled with ones (every token is number 1).")
    return example


def _check_runs(model: nn.Module, example: Example, inputs: Sequence[Input], given: str) -> None:
    """Run the network once, so that inputs that do not fit are an answer in words."""
    args, kwargs = as_arguments(example)
    inside: list[str] = []
    try:
        with evaluating(model), following(model, inside):
            model(*args, **kwargs)
    except Exception as error:  # whatever the user's own network raises
        name = inside[-1] if inside else ""
        where = f"module {name!r}" if name else "its own forward"
        says = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".") or type(error).__name__
        raise SettingError(
            f"--input-shape {given} does not fit: the forward pass of {type(model).__name__} fails in "
            f"{where}: {says}.{_hint(model.get_submodule(name), inputs, error)}"
        ) from error


def _hint(failed: nn.Module, inputs: Sequence[Input], error: Exception) -> str:
    if isinstance(error, TypeError) and "missing" in str(error) and len(inputs) == 1:
        return " Where the network takes several inputs, --input-shape is given once for each."
    if not isinstance(failed, nn.Embedding):
        return ""
    if isinstance(error, IndexError):
        return f" It has {failed.num_embeddings} entries; is the input longer than that?"
    return " Token ids are whole numbers: --input-shape 1,128:int64."


def first_of(batch: Any) -> Example:
    """Return the inputs of the first example of a batch, as a batch of one."""
    if isinstance(batch, Mapping):
        return tree_map(_first, {name: value for name, value in batch.items() if name != "labels"})  # pyright: ignore
    return tree_map(_first, batch[0] if isinstance(batch[0], Tensor | Mapping) else tuple(batch[0]))


def _first(value: Any) -> Any:
    return value[:1] if isinstance(value, Tensor) and value.ndim else value


def _zoo_shape(spec: str, model: nn.Module) -> tuple[int, ...]:
    card, (_, options) = card_of(model), name_and_options(spec)
    channels = options.get("in_channels", 1 if card is None else card.in_channels)
    size = options.get("image_size", 32 if channels == 3 else 28)
    return (1, channels, size, size)
