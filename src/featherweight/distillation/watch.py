"""What is read of a network that has just run: logits, tapped features, attention."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.trace import unfused
from featherweight.distillation.attention_taps import Attention
from featherweight.distillation.losses import Heads, View
from featherweight.distillation.outputs import find_logits, moved
from featherweight.distillation.projectors import in_float32
from featherweight.distillation.taps import Tap, Taps


@dataclass(frozen=True, eq=False)
class Reading:
    """What one pass left, as the network computed it."""

    logits: Tensor | None
    features: Mapping[Tap, Tensor]
    attention: Mapping[Attention, Heads]

    def view(self, features: Sequence[Tap], attention: Sequence[Attention]) -> View:
        """Return what one loss sees of it, in float32 (float64 stays)."""
        return View(
            None if self.logits is None else in_float32(self.logits),
            tuple(in_float32(self.features[tap]) for tap in features),
            tuple(
                Heads(in_float32(heads.query), in_float32(heads.key), in_float32(heads.value))
                for heads in (self.attention[layer] for layer in attention)
            ),
        )

    @property
    def device(self) -> torch.device | None:
        """Where it is; None where it is empty."""
        heads = [heads.query for heads in self.attention.values()]
        tensors = [x for x in (self.logits, *self.features.values(), *heads) if x is not None]
        return tensors[0].device if tensors else None

    def check_learns(self) -> None:
        """Warn where a feature has no gradient though the logits have one: its loss would teach nothing."""
        if self.logits is None or not self.logits.requires_grad:
            return
        dead = [tap for tap, x in self.features.items() if not x.requires_grad]
        dead += [
            tap for layer, x in self.attention.items() if not x.query.requires_grad for tap in layer.taps
        ]
        if dead:
            warnings.warn(
                f"No gradient goes through {dead[0]} of the student: all before it is frozen or detached, or "
                f"its activations are computed again (checkpointing) with use_reentrant=True, which hides "
                f"them; set use_reentrant=False.",
                stacklevel=4,
            )

    @property
    def whole(self) -> View:
        """All of it, as one view; ``of_whole`` is its inverse."""
        return self.view([*self.features], [*self.attention])

    def to(self, device: torch.device) -> Reading:
        """Return it on ``device``."""
        heads = {
            layer: Heads(*(moved(x, device) for x in (heads.query, heads.key, heads.value)))
            for layer, heads in self.attention.items()
        }
        return Reading(
            moved(self.logits, device), {tap: x.to(device) for tap, x in self.features.items()}, heads
        )


class Watch:
    """Hooks on one network for the features and attention layers of losses, until it is closed or gone."""

    def __init__(
        self, network: nn.Module, features: Iterable[Tap], attention: Iterable[Attention] = ()
    ) -> None:
        """Set the hooks on ``network``, which is not wrapped."""
        self.network = network
        self.features = tuple(dict.fromkeys(features))
        self.attention = tuple(dict.fromkeys(attention))
        self._taps = Taps(network, [*self.features, *(tap for a in self.attention for tap in a.taps)])
        weakref.finalize(self, self._taps.close).atexit = False  # one that is only dropped leaves none behind

    @property
    def names(self) -> tuple[str, ...]:
        """What is tapped, in words and in order."""
        return (*map(str, self.features), *(f"attention of {layer.path}" for layer in self.attention))

    def of_whole(self, view: View) -> Reading:
        """Return the reading that ``view``, with everything that is watched, was made of."""
        features = dict(zip(self.features, view.features, strict=True))
        return Reading(view.logits, features, dict(zip(self.attention, view.attention, strict=True)))

    def read(self, outputs: Any) -> Reading:
        """Return what the last pass left; the hooks forget it.

        Raises:
            ModelError: a tapped module did not run.
        """
        values = self._taps.take()
        return Reading(
            find_logits(outputs),
            {tap: values[tap] for tap in self.features},
            {layer: layer.read(self.network, values) for layer in self.attention},
        )

    def readable(self) -> AbstractContextManager[None]:
        """Return the context of a pass in eval mode that leaves tensors with a shape (see ``unfused``)."""
        return unfused() if self.features or self.attention else nullcontext()

    def close(self) -> None:
        """Take the hooks off."""
        self._taps.close()
