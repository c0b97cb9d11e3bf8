"""What several networks say about the same examples, which are read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.batches import UNLABELLED
from featherweight.core.trace import evaluating
from featherweight.report import ClassAgreement
from featherweight.training.objective import Objective, accuracy, logits, split

MOST_CLASSES = 1_000  # above which agreement is not told class by class


@dataclass(frozen=True)
class Answers:
    """The classes that networks name.

    Attributes:
        labels: (n,) int64, of the examples (or tokens) that have a label.
        named: (n,) int64, by network; -1 where it says nothing but NaN.
    """

    labels: Tensor
    named: Mapping[str, Tensor]

    @classmethod
    def of(cls, networks: Mapping[str, nn.Module], batches: Iterable[Any]) -> Answers:
        """Run each network on each batch.

        Raises:
            TrainingError: batches or outputs are of a form that cannot be scored.
        """
        objective = Objective(None, None, label_smoothing=0.0, precision="fp32", channels_last=False)
        labels: list[Tensor] = []
        named: dict[str, list[Tensor]] = {name: [] for name in networks}
        for batch in batches:
            targets = split(batch)[1].cpu()
            labels.append(targets[targets != UNLABELLED])
            for name, network in networks.items():
                named[name].append(_answers(objective, network, batch)[targets != UNLABELLED])
        return cls(torch.cat(labels), {name: torch.cat(parts) for name, parts in named.items()})

    def __len__(self) -> int:
        return len(self.labels)

    def accuracy(self, name: str) -> float:
        """Return how often a network names the label, 0..1."""
        return int((self.named[name] == self.labels).sum()) / len(self)

    def agreement(self, name: str, other: str) -> float:
        """Return how often two networks name the same class, 0..1."""
        return int(self._agree(name, other).sum()) / len(self)

    def by_class(
        self, teacher: str, distilled: str, alone: str | None, names: Sequence[str]
    ) -> tuple[ClassAgreement, ...]:
        """Return the agreement with ``teacher`` on the examples of each class; () of very many classes.

        Args:
            teacher: a network.
            distilled: another.
            alone: a third; None: there is none.
            names: of the classes; where there are too few, the rest is named by number.
        """
        present = self.labels.unique().tolist()
        if len(present) > MOST_CLASSES:
            return ()
        agree = {name: self._agree(name, teacher) for name in (distilled, alone) if name is not None}
        rows: list[ClassAgreement] = []
        for label in present:
            its = self.labels == label
            counts = {name: int(values[its].sum()) for name, values in agree.items()}
            title = str(names[label]) if 0 <= label < len(names) else str(label)
            rows.append(
                ClassAgreement(title, int(its.sum()), counts[alone] if alone else None, counts[distilled])
            )
        return tuple(rows)

    def _agree(self, name: str, other: str) -> Tensor:
        return (self.named[name] == self.named[other]) & (self.named[name] >= 0)


def _answers(objective: Objective, network: nn.Module, batch: Any) -> Tensor:
    """Return the class that is named at each target; -1 where the largest score is NaN."""
    with evaluating(network):
        outputs, targets = objective.outputs(network, batch)
        accuracy(outputs, targets)  # says what is wrong, if the shapes do not fit
        best = logits(outputs).max(1)
    return torch.where(best.values.isnan(), -1, best.indices).cpu()
