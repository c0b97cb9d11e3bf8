"""Rewind points: everything a training had at a step, so that it can go on from there again.

Rewinding the weights alone is the classical mistake: momentum, the statistics of batch norm and the course of
the learning rate then belong to another moment. A rewind point is therefore what ``fw.fit`` itself needs to
resume, and rewinding is resuming from it: a network of which nothing was pruned comes out bit for bit as it
was. What is left out is the choice of an epoch before that step, which a pruned network never had.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featherweight import artifact
from featherweight.core.holding import Holding
from featherweight.core.state import read_state, write_state
from featherweight.errors import ArtifactError
from featherweight.sparsity.lottery.packing import pack, unpack
from featherweight.training.checkpoint import FILE, CheckpointFile

_KEY = "featherweight.lottery.rewind"


@dataclass(frozen=True, eq=False)
class RewindPoint:
    """A training at a step.

    Attributes:
        step: optimizer steps that were taken.
        model: state dict: weights, and the statistics of batch norm.
        training: the rest that ``fw.fit`` resumes from, at steps above 0: optimizer, course of the learning
            rate, moving average, random streams; None at step 0, where there is nothing yet.
    """

    step: int
    model: Mapping[str, Tensor]
    training: Mapping[str, Any] | None = None

    @property
    def epochs(self) -> int:
        """Number of epochs that were over."""
        return 0 if self.training is None else int(self.training["progress"]["epoch"])

    @classmethod
    def of_run(cls, run_dir: Path) -> RewindPoint:
        """Return the point at which the checkpoint in ``run_dir`` was written."""
        state = torch.load(run_dir / FILE, map_location="cpu", weights_only=True)
        model = state.pop("model")
        rest = {name: state[name] for name in state if name not in ("version", "best", "attachment")}
        return cls(int(rest["progress"]["step"]), model, rest)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a safetensors file, whole or not at all."""
        tensors, text = pack({"step": self.step, "model": self.model, "training": self.training})
        write_state(tensors, path, metadata={_KEY: text})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RewindPoint:
        """Read what ``save`` wrote.

        Raises:
            ArtifactError: the file is damaged, or holds something else.
        """
        text = artifact.inspect(path).metadata.get(_KEY)
        if text is None:
            raise ArtifactError(f"{os.fspath(path)!r} is not a rewind point: its metadata has no {_KEY!r}.")
        return cls(**unpack(read_state(path), text))

    def place(self, run_dir: Path, holding: Holding) -> None:
        """Let ``fw.fit`` in ``run_dir`` go on from here with other masks, unless it is on its way already.

        The time that the epoch has taken so far is not counted again.
        """
        file = CheckpointFile(run_dir)
        if self.training is None or file.path.exists():
            return
        training = dict(self.training)
        training["identity"] = training["identity"] | {"pruner": holding.fingerprint()}
        training["progress"] = training["progress"] | {"seconds": 0.0}
        run_dir.mkdir(parents=True, exist_ok=True)
        file.write({**training, "model": dict(self.model), "best": None, "attachment": {"step": self.step}})
