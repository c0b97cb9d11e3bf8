"""A batch taken apart into its examples: along axis 0, where inputs and targets agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from featherweight.core.batches import read_batch, tensors_in
from featherweight.errors import SettingError


@dataclass(frozen=True, eq=False)
class Examples:
    """A batch, and which of its tensors hold an entry for each example.

    Attributes:
        batch: inputs and targets, in plain tuples, lists and dicts.
        dims: in the same form, 0 for tensors with an entry for each example, None for what they share.
        number: of examples.
    """

    batch: Any
    dims: Any
    number: int

    @classmethod
    def of(cls, batch: Any, wanted_by: str) -> Examples:
        """Find the examples of ``batch``: as many as targets, or as inputs where no target is a tensor.

        Args:
            batch: inputs and targets, or a mapping with "labels".
            wanted_by: who takes it apart, for errors.

        Raises:
            SettingError: inputs, or some of the targets, have not so many entries along axis 0.
        """
        inputs, targets = ([t for t in tensors_in(part) if t.ndim] for part in read_batch(batch))
        number = len((targets or inputs)[0]) if targets or inputs else 1
        differ = any(len(target) != number for target in targets)
        if differ or (number > 1 and not _lead(inputs, number)):
            raise SettingError(
                f"{wanted_by} takes batches apart along axis 0, where inputs and targets have an entry an "
                f"example; got inputs {_shapes(inputs)} and targets {_shapes(targets)}. Put the batch first "
                f"(batch_first=True), or pass data= as a function model -> losses, one for each example."
            )

        def dim_of(leaf: Any) -> int | None:
            return 0 if isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == number else None

        return cls(batch, tree_map(dim_of, batch), number)

    def parts(self, size: int) -> Iterator[Examples]:
        """Yield these in parts of at most ``size``."""
        for start in range(0, self.number, size):
            stop = min(start + size, self.number)
            yield replace(self, batch=self._cut(start, stop), number=stop - start)

    def _cut(self, start: int, stop: int) -> Any:
        def cut(leaf: Any, dim: int | None) -> Any:
            return leaf if dim is None else leaf[start:stop]

        return tree_map(cut, self.batch, self.dims)


def _lead(inputs: list[Tensor], number: int) -> bool:
    """Whether examples come first in one of the inputs, and second in none."""
    second = [t for t in inputs if t.ndim > 1 and len(t) not in (1, number) and t.shape[1] == number]
    return not second and any(len(t) == number for t in inputs)


def _shapes(tensors: list[Tensor]) -> str:
    return ", ".join(str(tuple(t.shape)) for t in tensors) or "without a tensor"
