"""What a batch of data= is, and how a network is run and judged on it.

A batch is ``(inputs, targets)``, or a mapping with "labels", the form of Hugging Face: keyword arguments, of
which "labels" are the targets. A network whose forward takes the labels is given them too, and may compute a
loss of its own; a graph takes them where it was traced with them.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from featherweight.core.trace import Example, as_arguments
from featherweight.errors import SettingError

LABELS = "labels"
UNLABELLED = -100  # as a target: this example (or token) has no label; torch's losses ignore it too
Loss = Callable[[Any, Any], Tensor]


def inputs_of(batch: Any) -> Example:
    """Return the inputs of a batch; of one without targets, which is inputs alone, all of it."""
    if isinstance(batch, Mapping):
        return {name: value for name, value in cast("Mapping[str, Any]", batch).items() if name != LABELS}
    return cast("Example", batch[0] if isinstance(batch, list | tuple) else batch)


def read_batch(batch: Any) -> tuple[Example, Any]:
    """Return inputs, without labels, and targets; raises SettingError if the batch has another form."""
    if isinstance(batch, Mapping) and LABELS in batch:
        return inputs_of(batch), cast("Mapping[str, Any]", batch)[LABELS]
    if isinstance(batch, list | tuple) and len(batch) == 2:  # pyright: ignore
        inputs, targets = cast("tuple[Any, Any]", batch)
        return inputs, targets
    raise SettingError(
        f"A batch of data= is (inputs, targets), or a mapping with 'labels'; got a {type(batch).__name__}."
    )


def outputs_of(model: nn.Module, batch: Any, *, labels: bool) -> Any:
    """Return what ``model`` gives for a batch.

    Args:
        model: a class, or a graph.
        batch: one of data=, or inputs alone.
        labels: whether a class that takes the labels of a mapping is given them, so that it computes its own
            loss.
    """
    args, kwargs = as_arguments(inputs_of(batch))
    wanted = labels or isinstance(model, torch.fx.GraphModule)
    if wanted and isinstance(batch, Mapping) and LABELS in batch and takes_labels(model):
        kwargs[LABELS] = batch[LABELS]
    return model(*args, **kwargs)


def takes_labels(model: nn.Module) -> bool:
    """Whether a graph was traced with labels, or the forward of a class takes them (``**kwargs`` does)."""
    if isinstance(model, torch.fx.GraphModule):
        return any(node.op == "placeholder" and node.target == LABELS for node in model.graph.nodes)
    try:
        parameters = inspect.signature(model.forward).parameters
    except (TypeError, ValueError):  # compiled elsewhere, such as by TorchScript: its own error says more
        return True
    return LABELS in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def loss_of(outputs: Any, targets: Any, loss: Loss) -> Tensor:
    """Return the loss; the default gives way to one that the model computed, and else takes its logits.

    Raises:
        SettingError: the default loss cannot be taken of such outputs.
    """
    if loss is not F.cross_entropy or isinstance(outputs, Tensor):
        return loss(outputs, targets)
    if (own := entry(outputs, "loss")) is not None:
        return own
    logits = find_logits(outputs)
    if logits is None or logits.ndim != 2:
        found = "neither loss nor logits" if logits is None else f"logits {tuple(logits.shape)}"
        raise SettingError(
            f"The model gives a {type(outputs).__name__} with {found}; cross-entropy takes (n, classes). "
            f"Pass loss= (to criteria, data=Calibration.of(batches, loss)), or let the model compute its own "
            f"with labels in its forward; then have 'labels' in example_inputs, where there are any."
        )
    return loss(logits, targets)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the first parameter, or else buffer; the CPU where there is none."""
    first = next(itertools.chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def moved(thing: Any, device: torch.device) -> Any:
    """Return ``thing`` with its tensors on ``device``; tuples, lists and mappings are gone through.

    Packed sequences stay what they are, and so do named tuples.
    """
    slow = device.type != "cpu"

    def move(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.to(device, non_blocking=slow)  # what comes back may be read at once
        return cast("Any", leaf).to(device) if isinstance(leaf, PackedSequence) else leaf

    return mapped(move, thing)


def mapped(function: Callable[[Any], Any], thing: Any) -> Any:
    """Return ``thing`` with all in it replaced by what ``function`` gives for it.

    Tuples, lists and mappings are gone through; packed sequences are not.
    """
    if isinstance(thing, Mapping):
        return {name: mapped(function, value) for name, value in cast("Mapping[str, Any]", thing).items()}
    if not isinstance(thing, tuple | list) or isinstance(thing, PackedSequence):
        return function(thing)
    values = [mapped(function, value) for value in cast("list[Any]", thing)]
    if hasattr(cast("Any", thing), "_fields"):  # a named tuple
        return cast("Any", type(thing))._make(values)
    return values if isinstance(thing, list) else tuple(values)


def tensors_in(thing: Any) -> Iterator[Tensor]:
    """Yield ``thing``, or the tensors in a tuple, list, mapping or record, in order."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        for value in cast("Mapping[Any, Any]", thing).values():
            yield from tensors_in(value)
    elif isinstance(thing, tuple | list):
        for value in cast("list[Any]", thing):
            yield from tensors_in(value)
    elif is_dataclass(thing) and not isinstance(thing, type):
        for value in vars(thing).values():
            yield from tensors_in(value)


def find_logits(outputs: Any) -> Tensor | None:
    """Return the scores in a model's output: itself, its entry "logits", or the first tensor of a tuple.

    A scalar in a tuple is a loss, and is passed over. None: there are no scores.
    """
    if isinstance(outputs, Tensor):
        return outputs
    found = entry(outputs, "logits")
    if found is None and isinstance(outputs, tuple | list):
        found = next((t for t in tensors_in(outputs) if t.ndim > 1), None)
    return found if isinstance(found, Tensor) else None


def entry(outputs: Any, name: str) -> Any:
    """Return what a mapping or a record holds under ``name``; None where it has no such thing."""
    if isinstance(outputs, Mapping):
        return cast("Mapping[str, Any]", outputs).get(name)
    return getattr(outputs, name, None)
