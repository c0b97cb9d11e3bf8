"""What a batch is, what is minimised, and what is measured on the validation split.

A batch is ``(inputs, targets)``, or a mapping with the key "labels", the form of Hugging Face: the mapping is
handed to the model as keyword arguments, and the model's own ``output.loss`` is used unless a loss is given.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from accelerate.utils import convert_to_fp32
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.errors import FeatherweightError, SettingError, TrainingError
from featherweight.training.precision import autocast

Batch = Any
Loss = Callable[[Any, Any], Tensor]
Metric = Callable[[Any, Any], "tuple[float | Tensor, float | Tensor]"]


class Objective:
    """Loss and metric of a run."""

    def __init__(
        self,
        loss: Loss | None,
        metric: Metric | None,
        *,
        label_smoothing: float,
        precision: str,
        channels_last: bool,
    ) -> None:
        """Check that no setting would be without effect.

        Args:
            loss: (outputs, targets) -> scalar; None: cross-entropy, or the model's own.
            metric: (outputs, targets) -> (sum, count), higher is better; None: correct predictions.
            label_smoothing: of the cross-entropy.
            precision: "fp32" or "bf16".
            channels_last: lay 4-D inputs out with the channels innermost.

        Raises:
            SettingError: ``label_smoothing`` is set and the loss is not the default one.
        """
        if loss is not None and label_smoothing:
            raise SettingError("label_smoothing belongs to the default loss; with loss= it would do nothing.")
        self._given, self._smoothing = loss, label_smoothing
        self.metric: Metric = metric or accuracy
        self._precision, self._channels_last = precision, channels_last

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Any, Any]:
        """Return (outputs of the model in float32, targets)."""
        inputs, targets = self._split(batch)
        if isinstance(inputs, Mapping) and _is_without_labels(model):
            inputs = {
                name: value for name, value in cast("Mapping[str, Any]", inputs).items() if name != "labels"
            }
        first = next(model.parameters(), None)
        device = torch.device("cpu") if first is None else first.device
        with autocast(self._precision, device), _explained("The network", inputs=inputs):
            outputs = _call(model, _laid_out(inputs) if self._channels_last else inputs)
        return convert_to_fp32(outputs) if self._precision == "bf16" else outputs, targets

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of ``batch``, a scalar."""
        outputs, targets = self.outputs(model, batch)
        if self._given is None and isinstance(batch, Mapping) and not _is_classified(model, outputs):
            return self._own_loss(outputs)
        with _explained("The loss", outputs=outputs, targets=targets):
            if self._given is not None:
                return self._given(outputs, targets)
            return F.cross_entropy(logits(outputs), targets, label_smoothing=self._smoothing)

    def _split(self, batch: Batch) -> tuple[Any, Any]:
        if isinstance(batch, Mapping) and "labels" in batch:
            entries = cast("Mapping[str, Any]", batch)
            return entries, entries["labels"]
        if isinstance(batch, (tuple, list)):
            parts = cast("Sequence[Any]", batch)
            if len(parts) == 2:
                return parts[0], parts[1]
        raise TrainingError(
            f"A batch is (inputs, targets) or a mapping with the key 'labels'; got {_describe(batch)}."
        )

    def _own_loss(self, outputs: Any) -> Tensor:
        own = _entry(outputs, "loss")
        if own is None:
            raise TrainingError(
                f"The batches are mappings, but the model's output ({_describe(outputs)}) "
                f"has no loss: pass loss=."
            )
        if self._smoothing:
            raise SettingError("label_smoothing belongs to the default loss; the model computes its own.")
        return own


@contextmanager
def _explained(what: str, **given: Any) -> Generator[None]:
    """Say what was computed with when it fails: torch's own message seldom does."""
    try:
        yield
    except (torch.OutOfMemoryError, FeatherweightError):
        raise
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        first = str(error).strip().split("\n", maxsplit=1)[0]
        shapes = " and ".join(f"{name} {_shapes(value)}" for name, value in given.items())
        raise TrainingError(f"{what} failed with {shapes}: {type(error).__name__}: {first}") from error


def accuracy(outputs: Any, targets: Tensor) -> tuple[int, int]:
    """Count correct predictions: logits (n, classes, ...) against targets (n, ...) -> (correct, total).

    Raises:
        TrainingError: the shapes are not those of a classifier.
    """
    scores = logits(outputs)
    if scores.ndim < 2 or (scores.shape[0], *scores.shape[2:]) != tuple(targets.shape):
        raise TrainingError(
            f"Accuracy takes logits (n, classes, ...) and targets (n, ...); got {tuple(scores.shape)} and "
            f"{tuple(targets.shape)}. Pass metric=, a function (outputs, targets) -> (sum, count)."
        )
    best = scores.max(1)
    right = (best.indices == targets) & ~best.values.isnan()  # a network that gives NaN knows nothing
    return int(right.sum()), targets.numel()


def logits(outputs: Any) -> Tensor:
    """Return the tensor of scores in a model's output: itself, or its entry "logits"."""
    found = outputs if isinstance(outputs, Tensor) else _entry(outputs, "logits")
    if not isinstance(found, Tensor):
        raise TrainingError(
            f"The model returns {_describe(outputs)}, not a tensor and nothing with 'logits'. "
            f"Pass loss= and metric=."
        )
    return found


def _entry(outputs: Any, name: str) -> Any:
    if isinstance(outputs, Mapping):
        return cast("Mapping[str, Any]", outputs).get(name)
    return getattr(outputs, name, None)


def _is_without_labels(model: nn.Module) -> bool:
    """Whether it is a graph that was traced without them: a class takes them, and may compute a loss."""
    nodes = model.graph.nodes if isinstance(model, torch.fx.GraphModule) else ()
    return bool(nodes) and not any(node.op == "placeholder" and node.target == "labels" for node in nodes)


def _is_classified(model: nn.Module, outputs: Any) -> bool:
    """Whether cross-entropy is the loss that the class of such a graph computed: logits are (n, classes)."""
    if not _is_without_labels(model) or _entry(outputs, "loss") is not None:
        return False
    found = outputs if isinstance(outputs, Tensor) else _entry(outputs, "logits")
    return isinstance(found, Tensor) and found.ndim == 2 and found.shape[1] > 1


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**cast("Mapping[str, Any]", inputs))
    return model(*cast("tuple[Any, ...]", inputs)) if isinstance(inputs, tuple) else model(inputs)


def _laid_out(inputs: Any) -> Any:
    """Lay 4-D tensors out with the channels innermost."""
    if isinstance(inputs, Tensor):
        return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs
    if isinstance(inputs, Mapping):
        return {name: _laid_out(value) for name, value in cast("Mapping[str, Any]", inputs).items()}
    if isinstance(inputs, tuple):
        return tuple(_laid_out(value) for value in cast("tuple[Any, ...]", inputs))
    return inputs


def _shapes(thing: Any) -> str:
    """Return dtype, sizes and, of whole numbers, the range of tensors."""
    if isinstance(thing, Tensor):
        kind = str(thing.dtype).removeprefix("torch.")
        counts = not thing.is_floating_point() and not thing.is_complex() and thing.numel()
        span = f" of {int(thing.min())}..{int(thing.max())}" if counts else ""
        return f"{kind} {tuple(thing.shape)}{span}"
    if isinstance(thing, Mapping):
        entries = cast("Mapping[Any, Any]", thing).items()
        return "{" + ", ".join(f"{name}: {_shapes(value)}" for name, value in entries) + "}"
    if isinstance(thing, (tuple, list)):
        return f"({', '.join(_shapes(part) for part in cast('Sequence[Any]', thing))})"
    return type(thing).__name__


def _describe(thing: Any) -> str:
    if isinstance(thing, Mapping):
        return f"a mapping with the keys {sorted(map(str, cast('Mapping[Any, Any]', thing)))}"
    if isinstance(thing, (tuple, list)):
        return f"a {type(thing).__name__} of {len(cast('Sequence[Any]', thing))}"
    return f"a {type(thing).__name__}"
