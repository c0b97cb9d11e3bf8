"""What a batch is, what is minimised, and what is measured on the validation split.

A batch is ``(inputs, targets)``, or a mapping with the key "labels", the form of Hugging Face: the mapping is
handed to the model as keyword arguments, and the model's own ``output.loss`` is used unless a loss is given.
A guidance makes the loss itself, and may do without labels: its batches may be inputs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from accelerate.utils import convert_to_fp32
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.core.batches import UNLABELLED, entry, find_logits
from featherweight.errors import FeatherweightError, SettingError, TrainingError
from featherweight.training.guidance import Guidance
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
        guidance: Guidance | None = None,
    ) -> None:
        """Check that no setting would be without effect.

        Args:
            loss: (outputs, targets) -> scalar; None: cross-entropy, or the model's own.
            metric: (outputs, targets) -> (sum, count), higher is better; None: correct predictions.
            label_smoothing: of the cross-entropy.
            precision: "fp32" or "bf16".
            channels_last: lay 4-D inputs out with the channels innermost.
            guidance: makes the loss in place of ``loss``.

        Raises:
            SettingError: ``label_smoothing`` is set and the loss is not the default one; or there is both a
                loss and a guidance.
        """
        if guidance is not None and loss is not None:
            raise SettingError("loss= and guidance= both make the loss of a batch: give one of them.")
        if guidance is not None and label_smoothing:
            raise SettingError("label_smoothing belongs to the default loss; guidance= makes its own.")
        if loss is not None and label_smoothing:
            raise SettingError("label_smoothing belongs to the default loss; with loss= it would do nothing.")
        self._given, self._smoothing, self._guidance = loss, label_smoothing, guidance
        self.metric: Metric = metric or accuracy
        self._precision, self._channels_last = precision, channels_last

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Any, Any]:
        """Return (outputs of the model in float32, targets)."""
        inputs, targets = split(batch)
        return self._computed(model, inputs), targets

    def _computed(self, model: nn.Module, inputs: Any) -> Any:
        if is_without_labels(model):
            inputs = without_labels(inputs)
        first = next(model.parameters(), None)
        device = torch.device("cpu") if first is None else first.device
        with autocast(self._precision, device), explained("The network", inputs=inputs):
            outputs = call(model, laid_out(inputs) if self._channels_last else inputs)
        return convert_to_fp32(outputs) if self._precision == "bf16" else outputs

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of ``batch``, a scalar."""
        if self._guidance is not None:
            return self._guided(model, batch, self._guidance)
        outputs, targets = self.outputs(model, batch)
        if self._given is None and isinstance(batch, Mapping) and not _is_classified(model, outputs):
            return self._own_loss(outputs)
        with explained("The loss", outputs=outputs, targets=targets):
            if self._given is not None:
                return self._given(outputs, targets)
            return F.cross_entropy(logits(outputs), targets, label_smoothing=self._smoothing)

    def _guided(self, model: nn.Module, batch: Batch, guidance: Guidance) -> Tensor:
        outputs = self._computed(model, inputs_of(batch))
        with explained("The guidance", outputs=outputs, batch=batch):
            loss = guidance.loss(outputs, batch)
        several = isinstance(model, nn.parallel.DistributedDataParallel)
        return loss + nothing_of(outputs) if several else loss

    def _own_loss(self, outputs: Any) -> Tensor:
        own = entry(outputs, "loss")
        if own is None:
            raise TrainingError(
                f"The batches are mappings, but the model's output ({describe(outputs)}) "
                f"has no loss: pass loss=."
            )
        if self._smoothing:
            raise SettingError("label_smoothing belongs to the default loss; the model computes its own.")
        return own


def split(batch: Batch) -> tuple[Any, Any]:
    """Return (inputs, targets) of a batch that has both.

    Raises:
        TrainingError: it is of another form.
    """
    if isinstance(batch, Mapping) and "labels" in batch:
        entries = cast("Mapping[str, Any]", batch)
        return entries, entries["labels"]
    if isinstance(batch, (tuple, list)):
        parts = cast("Sequence[Any]", batch)
        if len(parts) == 2:
            return parts[0], parts[1]
    raise TrainingError(
        f"A batch is (inputs, targets) or a mapping with the key 'labels'; got {describe(batch)}."
    )


def inputs_of(batch: Batch) -> Any:
    """Return the inputs of a batch that may lack targets: also a tensor, (inputs,) or any mapping.

    Raises:
        TrainingError: it is of another form.
    """
    if isinstance(batch, (Tensor, Mapping)):
        return cast(Any, batch)
    if isinstance(batch, (tuple, list)) and len(cast("Sequence[Any]", batch)) == 1:
        return cast("Sequence[Any]", batch)[0]
    return split(batch)[0]


def nothing_of(outputs: Any) -> Tensor:
    """Return 0, with a path for gradients to all that ``outputs`` came from.

    DDP waits for the gradient of every parameter, also of those that a loss on features does not reach. The
    sum is that of no entries: 0 times an output would not be 0 where it is infinite.
    """
    reaching = [tensor for tensor in _tensors_in(outputs) if tensor.requires_grad]
    return sum((tensor.flatten()[:0].sum() for tensor in reaching), torch.zeros(()))


def _tensors_in(thing: Any) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        yield from _tensors_in(list(cast("Mapping[Any, Any]", thing).values()))
    elif isinstance(thing, (tuple, list)):
        for part in cast("Sequence[Any]", thing):
            yield from _tensors_in(part)
    elif hasattr(thing, "__dict__"):
        yield from _tensors_in(list(vars(thing).values()))


@contextmanager
def explained(what: str, **given: Any) -> Generator[None]:
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

    Targets of -100 are unlabelled and not counted.

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
    return int(right.sum()), int((targets != UNLABELLED).sum())


def logits(outputs: Any) -> Tensor:
    """Return the tensor of scores in a model's output, as ``find_logits`` does.

    Raises:
        TrainingError: there is none.
    """
    found = find_logits(outputs)
    if found is None:
        raise TrainingError(
            f"The model returns {describe(outputs)}, not a tensor and nothing with 'logits'. "
            f"Pass loss= and metric=."
        )
    return found


def without_labels(inputs: Any) -> Any:
    """Return ``inputs`` without the entry "labels", where it is a mapping."""
    if not isinstance(inputs, Mapping):
        return inputs
    return {name: value for name, value in cast("Mapping[str, Any]", inputs).items() if name != "labels"}


def is_without_labels(model: nn.Module) -> bool:
    """Whether it is a graph that was traced without them: a class takes them, and may compute a loss."""
    nodes = model.graph.nodes if isinstance(model, torch.fx.GraphModule) else ()
    return bool(nodes) and not any(node.op == "placeholder" and node.target == "labels" for node in nodes)


def _is_classified(model: nn.Module, outputs: Any) -> bool:
    """Whether cross-entropy is the loss that the class of such a graph computed: logits are (n, classes)."""
    if not is_without_labels(model) or entry(outputs, "loss") is not None:
        return False
    found = outputs if isinstance(outputs, Tensor) else entry(outputs, "logits")
    return isinstance(found, Tensor) and found.ndim == 2 and found.shape[1] > 1


def call(model: nn.Module, inputs: Any) -> Any:
    """Return the outputs: a mapping is handed over as keywords, a tuple as positional arguments."""
    if isinstance(inputs, Mapping):
        return model(**cast("Mapping[str, Any]", inputs))
    return model(*cast("tuple[Any, ...]", inputs)) if isinstance(inputs, tuple) else model(inputs)


def laid_out(inputs: Any) -> Any:
    """Lay 4-D tensors out with the channels innermost."""
    if isinstance(inputs, Tensor):
        return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs
    if isinstance(inputs, Mapping):
        return {name: laid_out(value) for name, value in cast("Mapping[str, Any]", inputs).items()}
    if isinstance(inputs, tuple):
        return tuple(laid_out(value) for value in cast("tuple[Any, ...]", inputs))
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


def describe(thing: Any) -> str:
    """Return its form in a few words, for errors."""
    if isinstance(thing, Mapping):
        return f"a mapping with the keys {sorted(map(str, cast('Mapping[Any, Any]', thing)))}"
    if isinstance(thing, (tuple, list)):
        return f"a {type(thing).__name__} of {len(cast('Sequence[Any]', thing))}"
    return f"a {type(thing).__name__}"
