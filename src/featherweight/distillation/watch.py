"""What is read of a network that has just run: logits, tapped features, attention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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
    """Hooks on one network for the features and attention layers of all losses."""

    def __init__(
        self, network: nn.Module, features: Iterable[Tap], attention: Iterable[Attention] = ()
    ) -> None:
        """Set the hooks on ``network``, which is not wrapped."""
        self.network = network
        self.features = tuple(dict.fromkeys(features))
        self.attention = tuple(dict.fromkeys(attention))
        self._taps = Taps(network, [*self.features, *(tap for a in self.attention for tap in a.taps)])

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

    def close(self) -> None:
        """Take the hooks off."""
        self._taps.close()
