"""The settings of one-shot pruning, checked before anything is done."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

from featherweight.errors import SettingError
from featherweight.sparsity.allocation import AllocationLike, allocation_of
from featherweight.sparsity.criteria import Criterion
from featherweight.sparsity.oneshot._problem import Method, methods
from featherweight.sparsity.patterns import RowPattern

_DAMPING = 0.01  # as Frantar, Alistarh 2023
_WAYS = ("match", "reestimate", "keep")  # of batch_norm=
_ADDRESS = r" at 0x[0-9a-fA-F]+"  # of an object: another one in every process


@dataclass(frozen=True)
class Settings:
    """How layers are pruned; see ``prune_oneshot``.

    Raises:
        SettingError: a setting is wrong, or would do nothing to the method.
    """

    method: str | Method
    pattern: RowPattern
    damping: float | None = None
    correct_bias: bool = True
    memory_limit: float | None = 2 * 2**30
    batch_norm: str = "match"

    def __post_init__(self) -> None:
        check: Callable[[RowPattern], None] | None = getattr(self.chosen, "check", None)
        if check is not None:
            check(self.pattern)
        damping: Any = self.damping
        if damping is not None and (not _is_number(damping) or not 0 <= damping < float("inf")):
            raise SettingError(f"damping is a fraction of the mean diagonal, at least 0; got {damping!r}.")
        if damping is not None and not getattr(self.chosen, "takes_damping", True):
            raise SettingError(
                f"damping={damping} would do nothing: method={self.method!r} leaves weights as they are, and "
                f"solves nothing. Leave damping= out."
            )
        limit: Any = self.memory_limit
        if limit is not None and (not _is_number(limit) or not limit >= 0):
            raise SettingError(f"memory_limit is a number of bytes, at least 0, or None; got {limit!r}.")
        if self.batch_norm not in _WAYS:
            ways = ", ".join(map(repr, _WAYS))
            raise SettingError(f"batch_norm is one of {ways}; got {self.batch_norm!r}.")

    @property
    def chosen(self) -> Method:
        """The method itself."""
        return self.method if callable(self.method) else methods[self.method]

    @property
    def fraction(self) -> float:
        """The damping, whether it was given or not."""
        return _DAMPING if self.damping is None else self.damping

    def identity(self) -> dict[str, Any]:
        """Return what tells a run with these settings from others, of the types of JSON."""
        method = getattr(self.chosen, "__qualname__", None) or re.sub(_ADDRESS, "", repr(self.chosen))
        return {
            "method": method,
            "pattern": repr(self.pattern) if "0x" not in repr(self.pattern) else "a function",
            "damping": float(self.fraction),
            "correct_bias": self.correct_bias,
            "batch_norm": self.batch_norm,
        }


def check_criterion(criterion: str | Criterion | None, allocation: AllocationLike) -> None:
    """Raise SettingError if there is a criterion, and an allocation that does not look at its scores."""
    found = allocation_of(allocation)
    found = allocation_of(getattr(found, "rest", found))  # of what is given, none looks at scores
    if criterion is not None and getattr(found, "is_by_size", False):
        raise SettingError(
            f"criterion={criterion!r} would do nothing: allocation={allocation!r} looks at sizes alone, and "
            f"which weights go is the method's choice. Use allocation='global', or leave criterion= out."
        )


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)
