"""One run of distillation on Fashion-MNIST: a teacher, a loss, a seed; and what accuracy came of it.

The student is a small CNN with fewer than a tenth of the teacher's parameters. All runs see the same training
images: COPIES augmented copies of the training split, made once, so that the teacher's outputs can be cached.
The epoch is chosen on the validation split, and so are alpha, weights and rates, once for all seeds; the test
set is read once, at the end of a run that is not for choosing.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import featherweight as fw
from featherweight.distillation.mixture import terms_of
from featherweight.training.precision import choose_precision
from featherweight.zoo import ImageSet, Splits, build, loaders_of
from featherweight.zoo.networks.small_cnn import SmallCNN

COPIES = 4
WIDTHS = (8, 16, 32, 64)
CACHES = Path(__file__).parents[2] / "runs" / "distillation"
STAGES = [("stages.1", "norms.1"), ("stages.2", "norms.2")]  # of ResNet-20 and the student: 14x14 and 7x7
UNLABELLED = -100
NETWORKS = {"fashion_resnet20": "resnet20", "fashion_vit_c_tiny": "vit_c_tiny"}


@dataclass(frozen=True)
class Run:
    """What is run; a record of the results file has the same fields.

    Attributes:
        teacher: a trained network of the zoo; "random NAME": the same, not trained; "": none.
        loss: as ``fw.distill`` takes it; "": the labels alone.
        alpha: share of the distillation losses; 0 without a teacher.
        rate: the highest learning rate.
        labels: images that keep their labels; the others are there without.
        unlabelled: whether the others are seen at all.
        passes: over the COPIES copies.
        seed: of the student's first weights and the order of the data.
        tuning: whether it is for choosing: the test set is not read.
    """

    teacher: str
    loss: str
    alpha: float
    rate: float
    labels: int
    unlabelled: bool
    passes: int
    seed: int
    tuning: bool


def perform(run: Run) -> dict[str, Any]:
    """Do one run on one thread and return its record."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    splits = data(run.labels, run.unlabelled)
    loaders = loaders_of(splits)
    torch.manual_seed(run.seed)
    student = SmallCNN(splits.in_channels, len(splits.classes), WIDTHS)
    settings = fw.TrainingSettings(epochs=epochs_of(run), learning_rate=run.rate, seed=run.seed)
    if run.teacher:
        teacher = teacher_of(run.teacher)
        student = fw.distill(
            teacher,
            student,
            loaders.train,
            loaders.validate,
            **learning(run),
            settings=settings,
            cache=cache_of(run),
            progress=False,
        )
    else:
        fw.fit(student, loaders.train, loaders.validate, settings, progress=False)
    return asdict(run) | {
        "validation": fw.evaluate(student, loaders.validate),
        "test": None if run.tuning else fw.evaluate(student, loaders.test),
        "test_examples": 0 if run.tuning else len(splits.test),
        "params": fw.count_params(student, nonzero=False),
        "precision": choose_precision("auto", "no", torch.device("cpu")),
        "seconds": time.perf_counter() - started,
        "torch": torch.__version__,
    }


def data(labels: int = 0, unlabelled: bool = True) -> Splits:
    """Return Fashion-MNIST, its training images as augmented copies.

    Args:
        labels: how many images keep their label, the first ones of the split (its order is shuffled);
            0: all.
        unlabelled: whether the others are left in, with UNLABELLED as their target.
    """
    splits = fw.load_data("fashion_mnist")
    train, shown = splits.train, splits.train.labels.clone()
    keep = len(shown)
    if labels:
        shown[labels:] = UNLABELLED
        keep = keep if unlabelled else labels
    images = torch.cat([_augmented(train, copy)[:keep] for copy in range(COPIES)])
    copies = replace(train, images=images, labels=shown[:keep].repeat(COPIES), augment=False)
    return replace(splits, train=copies)


def _augmented(train: ImageSet, copy: int) -> torch.Tensor:
    """Return the images of ``train`` as uint8, augmented as epoch ``copy`` would see them."""
    plain = replace(
        train, augment=True, mean=torch.zeros_like(train.mean), std=torch.ones_like(train.std) / 255
    )
    plain.set_epoch(copy)
    return plain.__getitems__(range(len(train)))[0].round().to(torch.uint8)


def epochs_of(run: Run) -> int:
    """Return the epochs: with few labels and nothing else, as many steps as with all images."""
    if run.labels and not run.unlabelled:
        whole = len(fw.load_data("fashion_mnist").train)
        return run.passes * whole // run.labels
    return run.passes


def teacher_of(name: str) -> nn.Module:
    """Return a trained network of the zoo, or with "random NAME" one with its first weights."""
    if not name.startswith("random "):
        return fw.load_model(name)
    torch.manual_seed(0)
    return build(NETWORKS[name.removeprefix("random ")], in_channels=1).eval()


def learning(run: Run) -> dict[str, Any]:
    """Return the arguments of a Distiller."""
    return {
        "loss": run.loss,
        "alpha": run.alpha,
        "features": STAGES if taps_of(run.loss) == "stages" else "auto",
    }


def taps_of(loss: str) -> str:
    """Return what a loss sees of the teacher beside the logits: "stages", "embedding"; "logits": no more."""
    return next((str(term.loss.features) for term in terms_of(loss) if term.loss.features), "logits")


def cache_of(run: Run) -> Path:
    """Return the folder of the teacher's outputs that a run needs."""
    return CACHES / f"{run.teacher.replace(' ', '_')}-{taps_of(run.loss)}"


def fill_caches(runs: list[Run]) -> None:
    """Let the teachers of ``runs`` see the training images once."""
    loader = loaders_of(data()).train
    for run in {cache_of(run): run for run in runs if run.teacher}.values():
        student = SmallCNN(1, 10, WIDTHS)
        with fw.distill.Distiller(
            teacher_of(run.teacher), student, next(iter(loader)), **learning(run)
        ) as distiller:
            distiller.fill_cache(loader, cache_of(run))
