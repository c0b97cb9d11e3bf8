"""Checkpoints: all that a run needs to go on to the result it would have had, in one file.

The file is written by ``torch.save`` and read with ``weights_only=True``: tensors, numbers, strings and
containers of them, never code. It replaces the one before it in one step, so that a run killed at any moment
leaves a whole one.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from featherweight.artifact.atomic import replacing
from featherweight.errors import ResumeError, TrainingError

FILE = "checkpoint.pt"
VERSION = 2
KEYS = frozenset({
    "version", "identity", "progress", "processes", "records", "model", "best", "optimizer", "scheduler",
    "average", "attachment",
})  # fmt: skip

State = dict[str, Any]


class CheckpointFile:
    """The checkpoint of the run in one folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Name the file in ``folder``, which need not exist yet.

        Raises:
            TrainingError: ``folder`` is a file.
        """
        self.folder = Path(folder)
        self.path = self.folder / FILE
        if self.folder.exists() and not self.folder.is_dir():
            raise TrainingError(f"run_dir {str(self.folder)!r} is a file; give the name of a folder.")

    def write(self, state: State) -> None:
        """Write ``state``, which has the keys KEYS less the version, whole or not at all."""
        with replacing(self.path) as file:
            torch.save({"version": VERSION, **state}, file)

    def read(self, identity: State) -> State | None:
        """Return the state to go on from, on the CPU; None where there is none.

        Raises:
            ResumeError: the file is damaged, of another version, or of a run that is not ``identity``.
        """
        if not self.path.exists():
            return None
        state = self._load()
        if state.get("version") != VERSION:
            raise self._refusal(
                f"is of format version {state.get('version')!r}; this release reads {VERSION}"
            )
        if state.keys() != KEYS:
            raise self._refusal(f"is damaged: its entries are {', '.join(sorted(map(str, state)))}")
        if difference := first_difference(state["identity"], identity):
            raise self._refusal(f"is of another run: {difference}")
        return state

    def _load(self) -> State:
        try:
            with zipfile.ZipFile(self.path) as archive:  # torch.load does not look at the checksums
                if damaged := archive.testzip():
                    raise self._refusal(f"is damaged: the checksum of {damaged!r} does not match")
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except ResumeError:
            raise
        except Exception as error:  # a damaged file can fail anywhere in zip, pickle or torch
            raise self._refusal(f"cannot be read ({type(error).__name__}: {str(error)[:200]})") from error
        return cast(State, state) if isinstance(state, dict) else {}

    def _refusal(self, what: str) -> ResumeError:
        return ResumeError(
            f"The checkpoint {str(self.path)!r} {what}. Pass another run_dir, or delete it to start anew."
        )


def shapes(model: nn.Module) -> dict[str, list[int]]:
    """Return name -> shape of every parameter and buffer of ``model``."""
    return {name: list(value.shape) for name, value in model.state_dict().items() if hasattr(value, "shape")}


def first_difference(saved: Any, asked: Any, name: str = "") -> str | None:
    """Say which entry of two nested dictionaries differs first; None: they are equal."""
    if not (isinstance(saved, dict) and isinstance(asked, dict)):
        same = saved == asked
        return None if same else f"{name} was {_shown(saved)} and is {_shown(asked)} now"
    before, now = cast(State, saved), cast(State, asked)
    for key in sorted(before.keys() | now.keys()):
        path = f"{name}.{key}" if name else key
        if key not in before or key not in now:
            return f"{path} is {'new' if key in now else 'missing now'}"
        if difference := first_difference(before[key], now[key], path):
            return difference
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "..."
