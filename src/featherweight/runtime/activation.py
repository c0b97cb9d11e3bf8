"""The functions of one number that an operation can end with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featherweight.errors import GraphError

# Kind to its parameters, in the order in which native/kernels/operations.h has them.
KINDS: dict[str, tuple[str, ...]] = {
    "relu": (),
    "clip": ("min", "max"),
    "leaky_relu": ("slope",),
    "sigmoid": (),
    "tanh": (),
    "hard_sigmoid": ("slope", "offset"),
    "hard_swish": (),
    "silu": (),
    "gelu": (),
    "gelu_tanh": (),
    "exp": (),
    "sqrt": (),
    "abs": (),
    "neg": (),
    "erf": (),
    "elu": ("alpha",),
    "softplus": (),
}


@dataclass(frozen=True)
class Activation:
    """A function of one number, applied to every element.

    Attributes:
        kind: a key of KINDS.
        parameters: in the order of KINDS; finite.

    Raises:
        GraphError: the kind is unknown, or the parameters are not its own.
    """

    kind: str
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise GraphError(f"activation {self.kind!r} is unknown. There are: {', '.join(KINDS)}.")
        if len(self.parameters) != len(KINDS[self.kind]) or not all(map(math.isfinite, self.parameters)):
            raise GraphError(
                f"activation {self.kind}: expected finite numbers {list(KINDS[self.kind])}, "
                f"got {list(self.parameters)}."
            )

    def to_json(self) -> dict[str, Any]:
        """Return ``{"kind": ..., parameter: value, ...}``."""
        return {"kind": self.kind, **dict(zip(KINDS[self.kind], self.parameters, strict=True))}

    @classmethod
    def from_json(cls, table: Any, where: str) -> Activation:
        """Return the activation that ``to_json`` wrote; raises GraphError for anything else."""
        if not isinstance(table, Mapping) or table.get("kind") not in KINDS:
            raise GraphError(
                f"{where}: expected {{'kind': ...}} with one of {', '.join(KINDS)}, got {table!r}."
            )
        names = KINDS[table["kind"]]
        values = [table.get(name) for name in names]
        if set(table) != {"kind", *names} or not all(type(value) in (int, float) for value in values):
            raise GraphError(f"{where}: {table['kind']} takes the numbers {list(names)}, got {dict(table)}.")
        return cls(table["kind"], tuple(float(value) for value in values if value is not None))
