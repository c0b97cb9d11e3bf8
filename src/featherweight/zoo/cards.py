"""What a trained network of the zoo says of itself; kept in its weights file, so it cannot go stale."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from featherweight.errors import ArtifactError


@dataclass(frozen=True)
class Card:
    """Where a trained network comes from and how good it is.

    Attributes:
        name: as ``load_model`` takes it.
        network: its architecture, a name of the zoo's networks.
        data_set: what it was trained on, a name of the zoo's data sets.
        in_channels: channels of its input.
        classes: number of its outputs.
        accuracy: on the test set, 0..1.
        test_examples: size of the test set.
        recipe: the command that trained it.
    """

    name: str
    network: str
    data_set: str
    in_channels: int
    classes: int
    accuracy: float
    test_examples: int
    recipe: str

    def to_json(self) -> str:
        """Return the card as a JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read a card; raises ArtifactError if ``text`` is not one."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"The card in a weights file cannot be read: {error}.") from error


def card_of(model: nn.Module) -> Card | None:
    """Return the card of a model that came from ``load_model``, also of a copy; None for any other."""
    card: Any = getattr(model, "card", None)
    return card if isinstance(card, Card) else None
