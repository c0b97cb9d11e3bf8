"""One run: a method at one sparsity from one seed, with its accuracy on validation and test.

Every method but the last starts from the same trained network, and every one that trains does so with the
same settings. "Small from scratch" has as many parameters as 90% pruning leaves, and is trained for as many
epochs as the dense network and its fine-tuning together. The epoch is chosen on the validation split; the
test set is read once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from benchmarks.train_zoo import RECIPES
from torch import nn

import featherweight as fw
from featherweight.sparsity.progressive import FINE_TUNING
from featherweight.sparsity.schedules import Cubic, OneShot
from featherweight.training.precision import choose_precision
from featherweight.zoo import default_loaders
from featherweight.zoo.networks.resnet_cifar import CifarResNet
from featherweight.zoo.networks.small_cnn import SmallCNN

GRADUAL = Cubic()
MAIN = 0.9
LEVELS = (MAIN, 0.8, 0.95, 0.5, 0.98)

SMALL: dict[str, Callable[[], nn.Module]] = {
    "fashion_cnn": lambda: SmallCNN(1, 10, widths=(10, 20, 40, 80)),
    "fashion_resnet20": lambda: CifarResNet(20, 1, 10, widths=(5, 10, 20)),
}


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
        levels: the sparsities at which it runs; 0.0 where it does not prune.
        all_seeds: whether it runs from every seed at every sparsity; else that at MAIN alone.
        scratch: whether it starts from an untrained small network.
    """

    title: str
    prune: Callable[[nn.Module, Run], fw.Pruner | None]
    trains: bool = True
    seeded: bool = True
    levels: tuple[float, ...] = LEVELS
    all_seeds: bool = True
    scratch: bool = False


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
    "random_finetuned": Method(
        "progressive random, fine-tuned", _while_training("random", GRADUAL), all_seeds=False
    ),
    "oneshot": Method("one-shot magnitude, no training", _now("magnitude"), trains=False, seeded=False),
    "random": Method("one-shot random, no training", _now("random"), trains=False),
    "dense_finetuned": Method("dense, fine-tuned the same", lambda model, run: None, levels=(0.0,)),
    "small": Method("small from scratch", lambda model, run: None, levels=(MAIN,), scratch=True),
}


def perform(run: Run) -> dict[str, Any]:
    """Do one run on one thread and return its record."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    model = fw.load_model(run.network)
    loaders = default_loaders(model)
    method = METHODS[run.method]
    if method.scratch:
        torch.manual_seed(run.seed)
        model = SMALL[run.network]()
    pruner = method.prune(model, run)
    validation = None
    if method.trains:
        history = fw.fit(
            model, loaders.train, loaders.validate, _settings(method, run), pruner=pruner, progress=False
        )
        validation = history.best.validation
    if not method.scratch and run.sparsity:
        (pruner.masks if pruner else fw.Masks.from_zeros(model)).check(model)
    return asdict(run) | {
        "validation": fw.evaluate(model, loaders.validate) if validation is None else validation,
        "test": fw.evaluate(model, loaders.test),
        "test_examples": len(loaders.test.dataset),
        "params": fw.count_params(model, nonzero=False),
        "nonzero": fw.count_params(model),
        "precision": choose_precision("auto", "no", torch.device("cpu")),
        "seconds": time.perf_counter() - started,
        "torch": torch.__version__,
    }


def _settings(method: Method, run: Run) -> fw.TrainingSettings:
    if not method.scratch:
        return replace(FINE_TUNING, epochs=run.epochs, seed=run.seed)
    settings = RECIPES[run.network].settings
    return replace(settings, epochs=settings.epochs + run.epochs, seed=run.seed)
