"""One run of a strategy: criterion, allocation and schedule on a network, and what accuracy came of it.

All strategies of a question start from the same weights, see the data in the same order and train for as many
steps with the same settings: rates were chosen for magnitude (FINE_TUNING) and for the dense network
(RECIPES). An epoch may be a part of the training data, drawn anew each time. Criteria look at the same
CALIBRATION batches of training data each time. Without training, the statistics of batch norm are estimated
anew on them, for every strategy. The last epoch is taken, nothing is chosen: no run reads the validation
split, and each reads the test set once, at the end.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from benchmarks.train_zoo import RECIPES
from torch import nn
from torch.utils.data import DataLoader

import featherweight as fw
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.allocation import AllocationLike
from featherweight.sparsity.allocation.sensitivity import LEVELS as SCANNED
from featherweight.sparsity.progressive import FINE_TUNING
from featherweight.sparsity.schedules import Cubic, Schedule
from featherweight.training.precision import choose_precision
from featherweight.zoo import Loaders, build, loaders_of

LEVELS = (0.9, 0.98, 0.95, 0.8, 0.99)
MAIN = 0.9
BATCH = 128  # images
CALIBRATION = 5  # batches that criteria look at
_CURVES: dict[tuple[str, int], AllocationLike] = {}  # by network and seed
SMOKE = "smoke"  # a small untrained network on the digits: seconds, for tests and tries
SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "one_shot": fw.schedules.OneShot,
    # 10 updates in the first half of the run: each scores anew
    "cubic": lambda: Cubic(every=0.05),  # pyright: ignore[reportCallIssue]
    "set": fw.schedules.SET,
    "rigl": fw.schedules.RigL,
    "acdc": fw.schedules.ACDC,
    # of a short run, the paper's fractions of 100 epochs make few steps: turns begin before much is learned
    "acdc_later": lambda: fw.schedules.ACDC(begin=0.4, end=0.6, every=0.1),
}


@dataclass(frozen=True)
class Effort:
    """How long strategies train, all of them alike.

    Attributes:
        epochs: of training.
        batches: in an epoch, drawn anew each time; a part of the training data.
    """

    epochs: int
    batches: int

    def words(self) -> str:
        """Return the effort in words."""
        return (
            f"{self.epochs} epochs of {self.batches} batches of {BATCH} images drawn anew "
            f"({self.epochs * self.batches * BATCH:,} images in all)"
        )


# From trained weights, from new ones. All questions about the CNN take two cores about three hours; about
# ResNet-20, in full, a GPU (H200, 16 workers under MPS) some minutes.
EFFORTS = {
    "fashion_cnn": (Effort(2, 80), Effort(4, 160)),
    "fashion_resnet20": (Effort(2, 80), Effort(4, 160)),
    SMOKE: (Effort(2, 11), Effort(2, 11)),
}


@dataclass(frozen=True)
class Run:
    """What is run; a record of the results file has the same fields.

    Attributes:
        network: a trained network of the zoo, or SMOKE.
        trained: whether it starts from the trained weights; else from new ones, drawn by the seed.
        criterion: a name; "": nothing is pruned.
        allocation: a name; "" where nothing is pruned.
        schedule: one of SCHEDULES; "": pruned at once, or not at all.
        sparsity: fraction of the prunable weights that become zero, 0..1.
        seed: seed of data order, augmentation, new weights and random masks.
        epochs: of training; 0: it is pruned, and no more.
        batches: of BATCH images, in an epoch at most; 0 where there is none.
    """

    network: str
    trained: bool
    criterion: str
    allocation: str
    schedule: str
    sparsity: float
    seed: int
    epochs: int
    batches: int

    @classmethod
    def dense(cls, network: str, trained: bool, seed: int, epochs: int, batches: int) -> Run:
        """Return the run that trains as long and prunes nothing."""
        return cls(network, trained, "", "", "", 0.0, seed, epochs, batches)


@dataclass(frozen=True)
class Part:
    """The first ``batches`` of a loader that shuffles: other images each time."""

    loader: DataLoader[Any]
    batches: int

    def __len__(self) -> int:
        return min(self.batches, len(self.loader))

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self.loader, len(self))


def perform(run: Run) -> dict[str, Any]:
    """Do one run on the GPU, or on one thread, and return its record; one that is refused says why in it."""
    torch.set_num_threads(1)
    started, used = time.perf_counter(), time.process_time()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, loaders = material(run)
    model.to(device)
    seen = list(itertools.islice(loaders.train, CALIBRATION))
    found: dict[str, Any] = {"density": None, "failed": ""}
    try:
        found |= (_trained if run.epochs else _pruned)(run, model, loaders, seen)
    except (ModelError, SettingError) as error:  # such as: a layer would lose all its weights
        found["failed"] = str(error)
    return asdict(run) | {
        **found,
        "test": None if found["failed"] else tested(model, loaders),
        "test_examples": len(loaders.test.dataset),  # pyright: ignore[reportArgumentType]
        "params": fw.count_params(model, nonzero=False),
        "nonzero": fw.count_params(model),
        "precision": choose_precision("auto", "no", device),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor_seconds": time.process_time() - used,
        "seconds": time.perf_counter() - started,
        "torch": torch.__version__,
    }


def _trained(run: Run, model: nn.Module, loaders: Loaders, seen: list[Any]) -> dict[str, Any]:
    pruner = pruner_of(run, model, seen)
    train = Part(loaders.train, run.batches)
    fw.fit(model, train, None, settings_of(run), pruner=pruner, progress=False)
    if pruner is not None:
        pruner.masks.check(model)
    return {"density": mean_density(pruner, run.epochs * len(train))}


def _pruned(run: Run, model: nn.Module, loaders: Loaders, seen: list[Any]) -> dict[str, Any]:
    fw.prune(model, run.sparsity, **what(run, model, seen), data=seen).check(model)
    fw.reestimate_batch_norm(model, seen, batches=CALIBRATION)
    return {"density": 1 - run.sparsity}


def tested(model: nn.Module, loaders: Loaders) -> float:
    """Return the accuracy on the test set, 0..1."""
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - convolutions are faster
    return fw.evaluate(model, loaders.test)


def material(run: Run) -> tuple[nn.Module, Loaders]:
    """Return the network of a run as it begins, and its data."""
    if run.network == SMOKE:
        network, data_set = "lenet_300_100", "digits"
    else:
        recipe = RECIPES[run.network]
        network, data_set = recipe.network, recipe.data_set
    splits = fw.load_data(data_set)
    if run.trained and run.network != SMOKE:
        model = fw.load_model(run.network)
    else:
        torch.manual_seed(run.seed)
        model = build(
            network,
            in_channels=splits.in_channels,
            classes=len(splits.classes),
            image_size=splits.image_size,
        )
    torch.manual_seed(run.seed)  # the order of what criteria look at
    small = splits.test.loader(100)  # stays in the cache: three times as fast as larger batches
    return model, replace(loaders_of(splits, BATCH), test=small)


def settings_of(run: Run) -> fw.TrainingSettings:
    """Return how a run trains."""
    settings = FINE_TUNING if run.trained or run.network == SMOKE else RECIPES[run.network].settings
    return replace(settings, epochs=run.epochs, seed=run.seed)


def pruner_of(run: Run, model: nn.Module, seen: list[Any]) -> fw.Pruner | None:
    """Return the pruner of a run that trains; None where nothing is pruned."""
    if not run.criterion:
        return None
    axes = what(run, model, seen)
    return fw.Pruner(model, run.sparsity, **axes, schedule=SCHEDULES[run.schedule](), data=seen)


def what(run: Run, model: nn.Module, seen: list[Any]) -> dict[str, Any]:
    """Return the axes that ``fw.prune`` and ``fw.Pruner`` share.

    What a trained network is sensitive to is measured once for a seed, by magnitude, in each process: it is
    the same at all levels.
    """
    allocation: Any = run.allocation
    if allocation == "sensitivity" and run.trained and run.criterion == "magnitude":
        key = run.network, run.seed
        if key not in _CURVES:
            _CURVES[key] = fw.sensitivity(model, seen, SCANNED, progress=False).allocation()
        allocation = _CURVES[key]
    return {"criterion": run.criterion, "allocation": allocation, "seed": run.seed}


def mean_density(pruner: fw.Pruner | None, steps: int) -> float:
    """Return the share of prunable weights that were kept, the mean over the steps of a run."""
    if pruner is None:
        return 1.0
    schedule, target = pruner.schedule, pruner.recipe.sparsity
    return 1 - sum(schedule.sparsity_at(step, target) for step in range(steps)) / steps
