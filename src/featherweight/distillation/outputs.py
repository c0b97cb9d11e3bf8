"""What batches and outputs hold: inputs, targets, a mask, logits, and the loss on the labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.core.batches import UNLABELLED, entry, find_logits, moved, tensors_in
from featherweight.errors import ModelError, TrainingError
from featherweight.training.objective import Batch, describe, explained


@dataclass(frozen=True)
class Parts:
    """A batch, taken apart.

    Attributes:
        inputs: what the network is called with.
        targets: None where the batch has none.
        mask: (n, tokens), True where a token is not padding; None: none is.
    """

    inputs: Any
    targets: Any = None
    mask: Tensor | None = None

    @property
    def classes(self) -> Tensor | None:
        """Class numbers, with UNLABELLED where there is none; None where the targets are no class numbers."""
        targets = self.targets
        return targets if isinstance(targets, Tensor) and _is_whole(targets) else None


def parts_of(batch: Batch) -> Parts:
    """Take a batch apart: (inputs, targets), a mapping, a tensor, or (inputs,).

    Raises:
        TrainingError: it is none of these.
    """
    if isinstance(batch, Mapping):
        return Parts(batch, cast("Mapping[str, Any]", batch).get("labels"), _mask(batch))
    if isinstance(batch, Tensor):
        return Parts(batch)
    if isinstance(batch, tuple | list):
        inputs, *targets = cast("Sequence[Any]", batch) or [None, None, None]
        if len(targets) < 2:
            return Parts(inputs, targets[0] if targets else None, _mask(inputs))
    raise TrainingError(
        f"A batch is (inputs, targets), a mapping, or inputs alone, a tensor or (inputs,); "
        f"got {describe(batch)}."
    )


def first_batch(train: Iterable[Batch], networks: Iterable[nn.Module]) -> Batch:
    """Return the first batch, on the device of the first of ``networks`` that has one: a teacher stays there.

    Raises:
        TrainingError: there is none.
    """
    for batch in train:
        weight = next((p for network in networks for p in network.parameters()), None)
        return batch if weight is None else moved(batch, weight.device)
    raise TrainingError("train has no batch.")


def _mask(inputs: Any) -> Tensor | None:
    mask = cast("Mapping[str, Any]", inputs).get("attention_mask") if isinstance(inputs, Mapping) else None
    return mask != 0 if isinstance(mask, Tensor) and mask.ndim == 2 else None


def first_tensor(thing: Any) -> Tensor | None:
    """Return ``thing``, or the first tensor in a tuple, list, mapping or record; None where there is none."""
    return next(tensors_in(thing), None)


def hard_loss(outputs: Any, parts: Parts) -> Tensor:
    """Return the student's own ``output.loss`` where it was given labels and has one, else cross-entropy.

    Class numbers of UNLABELLED count nowhere; a batch without any label has the loss 0, with a gradient of 0.

    Raises:
        ModelError: there are no logits to compare.
        TrainingError: logits and targets do not fit each other.
    """
    logits = find_logits(outputs)
    own = entry(outputs, "loss") if isinstance(parts.inputs, Mapping) and "labels" in parts.inputs else None
    if isinstance(own, Tensor) and _has_labels(parts):
        return own.float()
    if logits is None:
        raise ModelError(
            f"The student returns {describe(outputs)}, without 'logits' or a loss of its own: pass "
            f"hard_loss=, a function (outputs, targets) -> scalar."
        )
    what = "The loss on the labels (cross-entropy; hard_loss= gives another)"
    with explained(what, logits=logits, targets=parts.targets):
        return cross_entropy(logits.float(), parts.targets)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of the cross-entropy over what is labelled.

    Args:
        logits: (n, classes), (n, tokens, classes), or (n, classes, height, width).
        targets: (n,), (n, tokens) or (n, height, width) class numbers; or probabilities, shaped like logits.
    """
    if not _is_whole(targets):
        return F.cross_entropy(logits, targets)
    if logits.ndim == 3 and targets.shape == logits.shape[:2]:
        logits, targets = logits.flatten(0, 1), targets.flatten()
    labelled = (targets != UNLABELLED).sum().clamp_min(1)
    return F.cross_entropy(logits, targets, ignore_index=UNLABELLED, reduction="sum") / labelled


def _has_labels(parts: Parts) -> bool:
    return parts.classes is None or bool((parts.classes != UNLABELLED).any())


def _is_whole(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())
