"""The demo's structured step: channels are removed, and the network is timed before and after, in turns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from featherweight.cli.demo.subject import Subject
from featherweight.cli.failures import CheckFailed
from featherweight.cli.network import fingerprint
from featherweight.core.prunable import find_prunable
from featherweight.profile import Latency, profile, time_in_turns
from featherweight.report import Milliseconds, Width
from featherweight.structured.progressive import FINE_TUNING, progressive_prune_structured

MACS = 0.2  # fraction that is left at most
ROUND_TO = 16  # channels: engines run multiples of a vector faster
SECONDS = 3.0  # of timing


@dataclass(frozen=True)
class Narrowed:
    """The network with channels removed, and what came of it.

    Attributes:
        model: cut and fine-tuned, in evaluation mode.
        macs_ratio: fraction of the multiply-accumulates that is left.
        times: of a forward pass at batch 1 before and after.
        widths: outputs of each layer before and after.
    """

    model: nn.Module
    macs_ratio: float
    times: tuple[Milliseconds, Milliseconds]
    widths: tuple[Width, ...]

    @property
    def speedup(self) -> float:
        """How many times faster the cut network is."""
        before, after = self.times
        return before.median / after.median


def narrow(subject: Subject, epochs: int, seed: int, runs: Path) -> Narrowed:
    """Cut a copy to a fifth of its MACs and fine-tune it; an interrupted run of the same settings goes on.

    It is trained for half as many epochs again as are asked for: what is left is small, and quick to train.

    Raises:
        CheckFailed: nothing was cut.
    """
    image = torch.zeros(1, *subject.splits.test.images.shape[1:])
    name = f"{subject.network}-{subject.splits.name}-structured-{epochs}-{seed}-{fingerprint(subject.model)}"
    small, _ = progressive_prune_structured(
        subject.model,
        image,
        macs=MACS,
        round_to=ROUND_TO,
        steps=1,
        train=subject.loaders.train,
        validate=subject.loaders.validate,
        settings=replace(FINE_TUNING, epochs=epochs + epochs // 2, seed=seed),
        run_dir=runs / name,
    )
    whole = subject.model.eval()
    before, after = (profile(model, image, repeats=2, warmup=0) for model in (whole, small.eval()))
    if after.macs > MACS * before.macs:
        raise CheckFailed(
            f"after structured pruning {after.macs:,} of {before.macs:,} MACs are left; at most "
            f"{MACS:.0%} were to be."
        )
    times = time_in_turns({"before": whole, "after": small}, image, seconds=SECONDS)
    return Narrowed(
        model=small,
        macs_ratio=after.macs / before.macs,
        times=(_milliseconds(times["before"]), _milliseconds(times["after"])),
        widths=tuple(_widths(whole, small)),
    )


def _milliseconds(latency: Latency) -> Milliseconds:
    return Milliseconds(latency.median, latency.low, latency.high, latency.repeats)


def _widths(whole: nn.Module, small: nn.Module) -> list[Width]:
    """Return the outputs of each layer with weights, before and after."""
    left = dict(small.named_parameters())
    return [
        Width(weight.name, weight.tensor.shape[0], left[weight.name].shape[0])
        for weight in find_prunable(whole).weights
    ]
