"""How many blocks go, which ones, and of which kind: checked before anything is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from featherweight.errors import SettingError
from featherweight.structured.depth.importance import BlockImportance, block_importances

UNITS = ("block", "branch")
WORDS = ("auto", "only")


@dataclass(frozen=True)
class Depth:
    """What is asked of depth; see ``prune_structured``.

    Attributes:
        blocks: how many go; "auto": as many as are best; "only": as many as reach the target by themselves.
        criterion: a name, or a callable as in structured.depth.importance; None: "loss" with data, else
            "similarity".
        unit: "block" or "branch".

    Raises:
        SettingError: ``blocks`` or ``unit`` is none of the choices, or a setting would do nothing.
        UnknownNameError: there is no such criterion.
    """

    blocks: int | str = 0
    criterion: str | BlockImportance | None = None
    unit: str = "block"

    def __post_init__(self) -> None:
        if isinstance(self.blocks, bool) or not (
            self.blocks in WORDS or (isinstance(self.blocks, int) and self.blocks >= 0)
        ):
            raise SettingError(
                f"blocks is a number of blocks to remove, 0 or more, 'auto' or 'only', got {self.blocks!r}."
            )
        if self.unit not in UNITS:
            raise SettingError(f"block_unit is one of {', '.join(UNITS)}, got {self.unit!r}.")
        if self.blocks == 0 and (self.criterion is not None or self.unit != "block"):
            raise SettingError(
                "block_criterion= and block_unit= would do nothing: blocks=0 removes no block."
            )
        _ = self.importance(())

    def __bool__(self) -> bool:
        return self.blocks != 0

    def to_list(self) -> list[Any]:
        """Return it as JSON values; a criterion of the user's own by its name."""
        own = self.criterion is not None and not isinstance(self.criterion, str)
        return [self.blocks, getattr(self.criterion, "__name__", "own") if own else self.criterion, self.unit]

    def importance(self, data: Iterable[Any] | None) -> BlockImportance:
        """Return the criterion as a callable; raises SettingError if it needs data that are not there."""
        name = self.criterion
        if name is None:
            name = "similarity" if data is None else "loss"
        if name == "loss" and data is None:
            raise SettingError(
                "block_criterion='loss' measures the loss on data: pass data=, or 'similarity'."
            )
        return block_importances[name] if isinstance(name, str) else name
