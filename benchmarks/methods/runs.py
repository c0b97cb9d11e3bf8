"""One run: a method at one sparsity from one seed, with its accuracy on validation and test.

Every method starts from the same trained network, and every one that trains does so with the same
settings. The epoch is chosen on the validation split; the test set is read once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

import featherweight as fw
from featherweight.sparsity.progressive import FINE_TUNING
from featherweight.sparsity.schedules import Cubic, OneShot
from featherweight.zoo import default_loaders

GRADUAL = Cubic()


@dataclass(frozen=True)
class Run:
    """What is run; a record of the results file has the same fields.

    Attributes:
        network: a trained network of the zoo.
        method: a key of METHODS.
        sparsity: fraction of the prunable weights that become zero, 0..1.
        seed: seed of data order, augmentation and random masks.
        epochs: epochs of fine-tuning, 0 where the method does not train.
    """

    network: str
    method: str
    sparsity: float
    seed: int
    epochs: int


@dataclass(frozen=True)
class Method:
    """How a method prunes.

    Attributes:
        title: its name in the tables.
        prune: ``(model, run) -> Pruner or None``; None where nothing is left to do while training.
        trains: whether it fine-tunes.
        seeded: whether its result depends on the seed.
        sparsities: False where it does not prune, and so runs once for all sparsities.
    """

    title: str
    prune: Callable[[nn.Module, Run], fw.Pruner | None]
    trains: bool = True
    seeded: bool = True
    prunes: bool = True


def _now(criterion: str) -> Callable[[nn.Module, Run], None]:
    def prune(model: nn.Module, run: Run) -> None:
        fw.prune(model, run.sparsity, criterion=criterion, seed=run.seed)

    return prune


def _while_training(criterion: str, schedule: Any) -> Callable[[nn.Module, Run], fw.Pruner]:
    def prune(model: nn.Module, run: Run) -> fw.Pruner:
        return fw.Pruner(model, run.sparsity, criterion=criterion, schedule=schedule, seed=run.seed)

    return prune


METHODS = {
    "progressive": Method("progressive magnitude", _while_training("magnitude", GRADUAL)),
    "oneshot_finetuned": Method("one-shot magnitude, fine-tuned", _while_training("magnitude", OneShot())),
    "random_finetuned": Method("progressive random, fine-tuned", _while_training("random", GRADUAL)),
    "oneshot": Method("one-shot magnitude, no training", _now("magnitude"), trains=False, seeded=False),
    "random": Method("one-shot random, no training", _now("random"), trains=False),
    "dense_finetuned": Method("dense, fine-tuned the same", lambda model, run: None, prunes=False),
}


def perform(run: Run) -> dict[str, Any]:
    """Do one run on one thread and return its record."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    model = fw.load_model(run.network)
    loaders = default_loaders(model)
    method = METHODS[run.method]
    pruner = method.prune(model, run)
    validation = None
    if method.trains:
        settings = replace(FINE_TUNING, epochs=run.epochs, seed=run.seed)
        history = fw.fit(model, loaders.train, loaders.validate, settings, pruner=pruner, progress=False)
        validation = history.best.validation
    if method.prunes:
        (pruner.masks if pruner else fw.Masks.from_zeros(model)).check(model)
    return asdict(run) | {
        "validation": fw.evaluate(model, loaders.validate) if validation is None else validation,
        "test": fw.evaluate(model, loaders.test),
        "test_examples": len(loaders.test.dataset),
        "params": fw.count_params(model, nonzero=False),
        "nonzero": fw.count_params(model),
        "seconds": time.perf_counter() - started,
        "torch": torch.__version__,
    }
